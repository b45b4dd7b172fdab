/** Hugging Face's forms over HTTP: pictures and texts to labels, boxes and vectors, as PyTorch computes them. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { cp, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import type { Json } from "../../src/base/json.js";
import { post } from "../support/client.js";
import { floatTensor, onnxFile } from "../support/onnx-file.js";
import { pngOf } from "../support/png-file.js";
import { openService, type RunningService } from "../support/service.js";
import { readExpectedTensors, taskRoot } from "../support/task-models.js";

interface Labelled {
  readonly label: string;
  readonly score: number;
}

interface Detected extends Labelled {
  readonly box: Readonly<Record<"xmin" | "ymin" | "xmax" | "ymax", number>>;
}

type Failed = { readonly error?: string; readonly code?: string };

interface Expected {
  readonly size: readonly [height: number, width: number];
  readonly logits: readonly number[];
  readonly queries: readonly Detected[];
}

/** What PyTorch computes for `pictureOf`: test/fixtures/task-pictures.py wrote it. */
const expectedOf = (model: string): Expected => JSON.parse(readFileSync(join(taskRoot, model, "picture.json"), "utf8"));

function pictureOf({ size: [height, width] }: Expected): Buffer {
  const rgb = Uint8Array.from({ length: height * width * 3 }, (_, i) => 7 * i + 13 * Math.floor(i / 50));
  return pngOf(width, height, rgb);
}

async function send<Answer>(
  url: string,
  path: string,
  body: object | Uint8Array,
): Promise<{ status: number; answer: Answer }> {
  const response =
    body instanceof Uint8Array
      ? await fetch(`${url}${path}`, {
          method: "POST",
          headers: { "content-type": "image/png" },
          body: Buffer.from(body),
        })
      : await post(url, path, body);
  return { status: response.status, answer: JSON.parse(await response.text()) };
}

function softmax(logits: readonly number[]): number[] {
  const powers = logits.map((value) => Math.exp(value - Math.max(...logits)));
  return powers.map((power) => power / powers.reduce((sum, value) => sum + value, 0));
}

const close = (found: number, wanted: number): boolean => Math.abs(found - wanted) < 2e-5;

describe("pictures to labels", () => {
  let folder: string;
  let service: RunningService;
  before(async () => {
    folder = join(await mkdtemp(join(tmpdir(), "lorikeet-pipeline-")), "resnet");
    await cp(join(taskRoot, "resnet"), folder, { recursive: true });
    const config = { image_processor_type: "ViTImageProcessor", do_resize: false };
    await writeFile(join(folder, "preprocessor_config.json"), JSON.stringify(config));
    service = await openService({ model: folder, maxImageBytes: "20000", maxImagePixels: "2000" });
  });
  after(async () => {
    await service?.[Symbol.asyncDispose]();
    await rm(join(folder, ".."), { recursive: true });
  });

  test("a picture's bytes have the labels that PyTorch gives, best first; so has base64 in JSON", async () => {
    const expected = expectedOf("resnet");
    const names: Record<string, string> = JSON.parse(readFileSync(join(folder, "config.json"), "utf8")).id2label;
    const wanted = softmax(expected.logits)
      .map((score, index) => ({ label: names[index] ?? "", score }))
      .sort((a, b) => b.score - a.score);
    const picture = pictureOf(expected);
    const { status, answer } = await send<Labelled[] & Failed>(service.url, "/models/resnet", picture);
    assert.equal(status, 200, answer.error);
    assert.deepEqual(
      answer.map(({ label }) => label),
      wanted.map(({ label }) => label),
    );
    assert.ok(answer.every(({ score }, i) => close(score, wanted[i]?.score ?? 9)));
    const inputs = picture.toString("base64");
    for (const path of ["/models/resnet/pipeline/image-classification", "/hf-inference/models/resnet"]) {
      for (const text of [inputs, inputs.replace(/.{76}/g, "$&\r\n"), `data:image/png;base64,${inputs}\n`]) {
        const json = await send<Labelled[]>(service.url, path, { inputs: text, parameters: { top_k: 2 } });
        assert.deepEqual(json.answer, answer.slice(0, 2));
      }
    }
    const parameters = { function_to_apply: "none" };
    const raw = await send<Labelled[]>(service.url, "/models/resnet", { inputs, parameters });
    assert.ok(close(raw.answer[0]?.score ?? 9, Math.max(...expected.logits)));
  });

  test("a form is refused, with how to send a picture", async () => {
    const form = new FormData();
    form.set("file", new Blob([Buffer.from("picture")]));
    const response = await fetch(`${service.url}/models/resnet`, { method: "POST", body: form });
    assert.equal(response.status, 415);
    assert.match(await response.text(), /curl --data-binary @photo\.png/);
  });

  test("what is no picture, is too large, or does not fit is refused, and the model still answers", async () => {
    const cases: readonly (readonly [string, object | Uint8Array, number, string, RegExp])[] = [
      ["/models/resnet", Buffer.from("GIF89a"), 415, "image_unsupported", /a GIF/],
      ["/models/resnet", Buffer.from("\x89PNG\r\n\x1a\n", "latin1"), 400, "image_invalid", /truncated/],
      ["/models/resnet", pngOf(50, 50, new Uint8Array(7500)), 413, "image_too_large", /2500 together; at most 2000/],
      ["/models/resnet", Buffer.alloc(30_000, 255), 413, "too_large", /at most 20000 bytes/],
      ["/models/resnet", pngOf(8, 8, new Uint8Array(192)), 400, "invalid_value", /has the shape \[1, 3, 8, 8\]/],
      ["/models/resnet", { inputs: "not base64!" }, 400, "invalid_value", /a picture in base64/],
      ["/models/resnet", { inputs: "aGVsbG8=", parameters: { top_k: 0 } }, 400, "invalid_value", /`top_k`/],
      [
        "/models/resnet/pipeline/translation",
        { inputs: "x" },
        422,
        "model_unsupported",
        /^The task "translation" has no/,
      ],
      ["/models/other", { inputs: "x" }, 404, "model_not_found", /other/],
    ];
    for (const [path, body, status, code, message] of cases) {
      const found = await send<Failed>(service.url, path, body);
      assert.deepEqual([found.status, found.answer.code], [status, code], found.answer.error);
      assert.match(found.answer.error ?? "", message);
    }
    const { status } = await send(service.url, "/models/resnet", pictureOf(expectedOf("resnet")));
    assert.equal(status, 200);
  });
});

test("a picture has the objects that transformers finds, with boxes in its own pixels", async () => {
  const adapters = await mkdtemp(join(tmpdir(), "lorikeet-detectors-"));
  after(() => rm(adapters, { recursive: true }));
  await cp(join(taskRoot, "yolos", "adapters"), adapters, { recursive: true });
  await using service = await openService({ model: join(taskRoot, "yolos"), adapters });
  const expected = expectedOf("yolos");
  const inputs = pictureOf(expected).toString("base64");
  const detect = (threshold: number) =>
    send<Detected[] & Failed>(service.url, "/models/yolos", { inputs, parameters: { threshold } });
  const { status, answer } = await detect(0.4);
  assert.equal(status, 200, answer.error);
  assert.equal(answer.length, expected.queries.length);
  for (const [index, { score, label, box }] of answer.entries()) {
    const wanted = expected.queries[index];
    assert.ok(wanted && close(score, wanted.score));
    assert.equal(label, wanted.label);
    for (const edge of ["xmin", "ymin", "xmax", "ymax"] as const)
      assert.equal(box[edge], Math.trunc(wanted.box[edge]), `${edge} of ${index}`);
  }
  assert.deepEqual((await detect(0.5)).answer, []);
  const body = { inputs, parameters: { threshold: 0 } };
  const adapted = await send<Detected[]>(service.url, "/models/attn-r8", body);
  assert.equal(adapted.answer.length, expected.queries.length);
  const furthest = adapted.answer.map(({ score }, i) => Math.abs(score - (expected.queries[i]?.score ?? 0)));
  assert.ok(Math.max(...furthest) > 1e-3, `the adapter's own scores, not the base's: ${furthest}`);
});

test("texts have the labels that PyTorch gives, in Hugging Face's form", async () => {
  const model = "bert-sequence-classification";
  await using service = await openService({ model: join(taskRoot, model) });
  const texts: { text: string }[] = JSON.parse(readFileSync(join(taskRoot, model, "texts.json"), "utf8"));
  const logits = (await readExpectedTensors(model)).get("logits");
  assert.ok(logits);
  // Only the first text is in the oracle whole.
  const inputs = texts.slice(0, 4).map(({ text }) => text);
  const { status, answer } = await send<Labelled[][] & Failed>(service.url, `/models/${model}`, { inputs });
  assert.equal(status, 200, answer.error);
  const wanted = softmax(Array.from(logits.data.slice(0, 3), Number)).sort((a, b) => b - a);
  assert.ok(answer[0]?.every(({ score }, i) => close(score, wanted[i] ?? 9)));
  assert.deepEqual(answer[0]?.map(({ label }) => label).sort(), ["negative", "neutral", "positive"]);
  const parameters = { top_k: 1 };
  const single = await send<Labelled[][]>(service.url, `/models/${model}`, { inputs: inputs[1], parameters });
  assert.deepEqual(single.answer, [answer[1]?.slice(0, 1)]);
  const long = await send<Failed>(service.url, `/models/${model}`, { inputs: "the ".repeat(60) });
  assert.deepEqual([long.status, long.answer.code], [400, "context_length_exceeded"]);
  const cut = await send(service.url, `/models/${model}`, {
    inputs: "the ".repeat(60),
    parameters: { truncation: true },
  });
  assert.equal(cut.status, 200);
  const picture = await send<Failed>(service.url, `/models/${model}/pipeline/image-classification`, Buffer.from("x"));
  assert.deepEqual([picture.status, picture.answer.code], [422, "model_unsupported"]);
});

test("texts have their vectors, one for one text and a list for a list", async () => {
  const model = "bert-embeddings";
  await using service = await openService({ model: join(taskRoot, model) });
  const texts: { text: string }[] = JSON.parse(readFileSync(join(taskRoot, model, "texts.json"), "utf8"));
  const inputs = texts.slice(0, 2).map(({ text }) => text);
  const openAi = await post(service.url, "/v1/embeddings", { model, input: inputs });
  const { data }: { data: { embedding: number[] }[] } = JSON.parse(await openAi.text());
  const wanted = data.map(({ embedding }) => embedding);
  const { answer } = await send<number[][]>(service.url, `/models/${model}`, { inputs });
  assert.deepEqual(answer, wanted);
  const single = await send<number[]>(service.url, `/models/${model}/pipeline/feature-extraction`, {
    inputs: inputs[0],
  });
  assert.deepEqual(single.answer, wanted[0]);
});

test("texts have the entities of their tokens, aggregated as asked", async () => {
  const folder = await mkdtemp(join(tmpdir(), "lorikeet-tags-"));
  after(() => rm(folder, { recursive: true }));
  for (const name of ["tokenizer.json", "tokenizer_config.json"])
    await cp(join(taskRoot, "bert-sequence-classification", name), join(folder, name));
  const labels = ["O", "B-X", "I-X"];
  const config = { architectures: ["BertForTokenClassification"], id2label: { ...labels } };
  await writeFile(join(folder, "config.json"), JSON.stringify(config));
  // Token 54 ("the") begins an entity and 142 ("fil") continues it: each looks its logits up.
  const table = Array.from({ length: 200 }, (_, id) => (id === 54 ? [0, 4, 0] : id === 142 ? [0, 0, 4] : [4, 0, 0]));
  const model = onnxFile({
    inputs: { input_ids: ["batch", "length"] },
    outputs: { logits: ["batch", "length", 3] },
    types: { input_ids: 7 },
    initializers: [floatTensor("table", [200, 3], table.flat())],
    nodes: [{ op: "Gather", inputs: ["table", "input_ids"], outputs: ["logits"] }],
  });
  await writeFile(join(folder, "model.onnx"), model);
  await using service = await openService({ model: folder, servedModelName: "tags" });
  const tag = async (body: object) => (await send<Json[] & Failed>(service.url, "/models/tags", body)).answer;
  const [entity, ...others] = await tag({ inputs: "A dull! The film" });
  const { score, ...rest } = entity ?? {};
  assert.deepEqual([rest, others], [{ entity_group: "X", word: "the fil", start: 8, end: 15 }, []]);
  assert.ok(close(Number(score), softmax([0, 0, 4])[2] ?? 9));
  const parameters = { aggregation_strategy: "none" };
  const tokens = await tag({ inputs: ["the", "a film"], parameters });
  assert.deepEqual(
    tokens.flat().map(({ entity: label, index, start, end }) => [label, index, start, end]),
    [
      ["B-X", 1, 0, 3],
      ["I-X", 2, 2, 5],
    ],
  );
});
