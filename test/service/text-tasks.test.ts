/** Texts through task models over HTTP: labels and vectors as PyTorch computes them, and bad bodies refused. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { cp, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import OpenAI from "openai";
import { edited } from "../adapter/format/helpers.js";
import { post } from "../support/client.js";
import { adaptersFolder, openService, type RunningService } from "../support/service.js";
import { readExpectedTensors, taskRoot } from "../support/task-models.js";

interface Text {
  readonly text: string;
  readonly ids: readonly number[];
}

const textsOf = (model: string): readonly Text[] =>
  JSON.parse(readFileSync(join(taskRoot, model, "texts.json"), "utf8"));

const rowOf = ({ data, shape }: { data: ArrayLike<number | bigint>; shape: readonly number[] }, row: number) => {
  const size = data.length / (shape[0] ?? 1);
  return Array.from(data, Number).slice(row * size, (row + 1) * size);
};

function softmax(logits: readonly number[]): number[] {
  const powers = logits.map((value) => Math.exp(value - Math.max(...logits)));
  return powers.map((power) => power / powers.reduce((sum, value) => sum + value, 0));
}

const distance = (a: readonly number[], b: readonly number[]): number =>
  a.length === b.length ? Math.max(...a.map((value, i) => Math.abs(value - (b[i] ?? 0)))) : Number.POSITIVE_INFINITY;

interface Classified {
  readonly data: readonly { index: number; label: string; probs: number[]; num_classes: number }[];
  readonly usage: { readonly prompt_tokens: number };
  readonly error?: { readonly message: string; readonly code: string };
}

describe("a classifier", () => {
  const model = "bert-sequence-classification";
  const texts = textsOf(model).slice(0, 4);
  let service: RunningService;
  let adapters: Awaited<ReturnType<typeof adaptersFolder>>;
  before(async () => {
    const own = join(taskRoot, model, "adapters");
    const loud = await edited({
      source: join(own, "dora"),
      tensors: (all) =>
        all.map((tensor) => {
          if (!tensor.name.endsWith("magnitude_vector")) return tensor;
          const values = new Float32Array(Uint8Array.from(tensor.data).buffer).map((value) => value * 1e37);
          return { ...tensor, data: new Uint8Array(values.buffer) };
        }),
    });
    adapters = await adaptersFolder({ four: join(own, "four-labels"), dora: join(own, "dora"), loud });
    await writeFile(join(adapters.path, "four", "labels.json"), JSON.stringify(["a", "b", "c", "d"]));
    service = await openService({ model: join(taskRoot, model), maxSequences: "4", adapters: adapters.path });
  });
  after(async () => {
    await service?.[Symbol.asyncDispose]();
    await adapters[Symbol.asyncDispose]();
  });

  const classify = async (body: object): Promise<{ status: number; answer: Classified }> => {
    const response = await post(service.url, "/classify", body);
    return { status: response.status, answer: JSON.parse(await response.text()) };
  };

  /** What the model computes for tokens, by the route that takes tensors. */
  const logitsOf = async (ids: readonly number[]): Promise<number[]> => {
    const inputs = ["input_ids", "attention_mask", "token_type_ids"].map((name, at) => {
      const data = at === 0 ? ids : ids.map(() => (at === 1 ? 1 : 0));
      return { name, shape: [1, ids.length], datatype: "INT64", data };
    });
    const response = await post(service.url, `/v2/models/${model}/infer`, { inputs });
    return JSON.parse(await response.text()).outputs[0].data;
  };

  test("labels texts as PyTorch does, together and alone", async () => {
    const { logits } = Object.fromEntries(await readExpectedTensors(model));
    assert.ok(logits);
    const { status, answer } = await classify({ model, input: texts.map(({ text }) => text) });
    assert.equal(status, 200, answer.error?.message);
    // The first text is the first row of PyTorch's; the others were cut there.
    assert.ok(distance(answer.data[0]?.probs ?? [], softmax(rowOf(logits, 0))) < 1e-5);
    for (const [index, { label, probs, num_classes: count }] of answer.data.entries()) {
      const wanted = softmax(await logitsOf(texts[index]?.ids ?? []));
      assert.ok(distance(probs, wanted) < 1e-5, `row ${index}: ${probs} and ${wanted}`);
      assert.equal(label, ["negative", "neutral", "positive"][wanted.indexOf(Math.max(...wanted))]);
      assert.equal(count, 3);
      const alone = await classify({ input: texts[index]?.text });
      assert.deepEqual(alone.answer.data[0]?.probs, probs, "the same bits alone");
    }
    assert.equal(
      answer.usage.prompt_tokens,
      texts.reduce((sum, { ids }) => sum + ids.length, 0),
    );
    const raw = await classify({ input: texts[0]?.text, use_activation: false });
    assert.ok(distance(raw.answer.data[0]?.probs ?? [], rowOf(logits, 0)) < 1e-4);
  });

  test("an adapter brings its own head, with another number of labels and their names", async () => {
    const wanted = async (name: string): Promise<number[]> => {
      const { logits } = Object.fromEntries(await readExpectedTensors(join(model, "adapters", name)));
      return softmax(rowOf(logits ?? assert.fail(), 0));
    };
    const input = texts[0]?.text;
    const [four, dora, base] = await Promise.all(
      ["four", "dora", model].map(async (name) => (await classify({ model: name, input })).answer),
    );
    const scores = await wanted("four-labels");
    assert.ok(distance(four?.data[0]?.probs ?? [], scores) < 1e-5);
    assert.deepEqual(
      [four?.data[0]?.num_classes, four?.data[0]?.label],
      [4, ["a", "b", "c", "d"][scores.indexOf(Math.max(...scores))]],
    );
    assert.ok(distance(dora?.data[0]?.probs ?? [], await wanted("dora")) < 1e-5);
    assert.equal(base?.data[0]?.num_classes, 3);
    const counts = JSON.parse(await (await fetch(`${service.url}/v1/adapters/four`)).text()).counts;
    assert.deepEqual(counts, { requests: 1, prompt_tokens: texts[0]?.ids.length, completion_tokens: 0 });
  });

  test("an adapter whose weights overflow is a 422 with its name on every route that reads outputs, and beside other rows", async () => {
    const input = texts[0]?.text;
    const bodies: Readonly<Record<string, object>> = {
      "/classify": { model: "loud", input },
      "/pooling": { model: "loud", input },
      "/models/loud": { inputs: input },
    };
    const answers = Object.entries(bodies).map(async ([path, body]) => await post(service.url, path, body));
    const other = classify({ model: "dora", input });
    for (const response of await Promise.all(answers)) {
      assert.equal(response.status, 422);
      assert.match(await response.text(), /With the adapter \\?"loud\\?" the model computed NaN in place of logits/);
    }
    assert.equal((await other).status, 200);
  });

  test("bad bodies say what was found and what is allowed", async () => {
    const cases: [body: object, status: number, message: RegExp][] = [
      [{}, 400, /`input` is required; found nothing/],
      [{ input: [] }, 400, /`input` must be one or a list of 1 to 4 texts.*found a list of 0/],
      [{ input: ["a", 7] }, 400, /found 7 at position 1/],
      [{ input: new Array(5).fill("a") }, 400, /found a list of 5/],
      [{ input: "" }, 400, /found a string of 0 characters/],
      [{ input: "a", truncate_prompt_tokens: 5 }, 400, /`truncate_prompt_tokens` must be -1/],
      [{ input: "a", temperature: 1 }, 400, /`temperature` is not supported/],
      [{ input: "a", model: "nobody" }, 404, /`nobody` does not exist/],
      [{ input: "a ".repeat(100) }, 400, /tokens with special tokens; the model takes at most/],
    ];
    for (const [body, status, message] of cases) {
      const found = await classify(body);
      assert.equal(found.status, status, JSON.stringify(found.answer));
      assert.match(found.answer.error?.message ?? "", message);
    }
    const cut = await classify({ input: "a ".repeat(100), truncate_prompt_tokens: -1 });
    assert.equal(cut.status, 200, cut.answer.error?.message);
  });

  test("embeddings of a model without token vectors are refused by name", async () => {
    const response = await post(service.url, "/v1/embeddings", { input: "a" });
    assert.equal(response.status, 422);
    assert.match(await response.text(), /has no output last_hidden_state/);
    await service.assertIdle();
  });
});

describe("an embedder", () => {
  const model = "bert-embeddings";
  const texts = textsOf(model).slice(0, 4);
  let service: RunningService;
  let client: OpenAI;
  before(async () => {
    service = await openService({ model: join(taskRoot, model) });
    client = new OpenAI({ baseURL: `${service.url}/v1`, apiKey: "none" });
  });
  after(() => service?.[Symbol.asyncDispose]());

  test("OpenAI's client gets the vectors that PyTorch computes, as floats and in base64", async () => {
    const {
      sentence_embedding: expected,
      input_ids: ids,
      attention_mask: mask,
    } = Object.fromEntries(await readExpectedTensors(model));
    assert.ok(expected && ids && mask);
    const rows = [0, 1, 2, 3].map((row) => rowOf(ids, row).filter((_, at) => rowOf(mask, row)[at] === 1));
    // By default the client asks for base64 and decodes it.
    const decoded = await client.embeddings.create({ model, input: rows });
    const floats = await client.embeddings.create({ model, input: rows, encoding_format: "float" });
    for (const [index, { embedding }] of floats.data.entries()) {
      assert.ok(distance(embedding, rowOf(expected, index)) < 1e-5, `row ${index}`);
      assert.deepEqual([...(decoded.data[index]?.embedding ?? [])], embedding);
    }
    assert.equal(floats.usage.prompt_tokens, rows.flat().length);
  });

  test("a text has the vector of its tokens", async () => {
    const byText = await client.embeddings.create({ model, input: texts.map(({ text }) => text) });
    const byIds = await client.embeddings.create({ model, input: texts.map(({ ids }) => [...ids]) });
    assert.deepEqual(byText.data, byIds.data);
    assert.deepEqual(byText.usage, byIds.usage);
  });

  test("texts are scored and ranked by the cosine of their vectors", async () => {
    const [query = "", ...documents] = texts.map(({ text }) => text);
    const ask = async (path: string, body: object) => {
      const response = await post(service.url, path, body);
      return { status: response.status, answer: JSON.parse(await response.text()) };
    };
    const vectors = await client.embeddings.create({ model, input: [query, ...documents], encoding_format: "float" });
    const [first = [], ...others] = vectors.data.map(({ embedding }) => embedding);
    const cosines = others.map((other) => other.reduce((sum, value, i) => sum + value * (first[i] ?? 0), 0));
    const { answer: scored } = await ask("/score", { model, text_1: query, text_2: documents });
    assert.ok(
      distance(
        scored.data.map(({ score }: { score: number }) => score),
        cosines,
      ) < 1e-6,
    );
    const order = cosines.map((_, index) => index).sort((a, b) => (cosines[b] ?? 0) - (cosines[a] ?? 0));
    const { answer: ranked } = await ask("/v1/rerank", { query, documents, top_n: 2 });
    assert.deepEqual(
      ranked.results.map(({ index, document }: { index: number; document: { text: string } }) => [
        index,
        document.text,
      ]),
      order.slice(0, 2).map((index) => [index, documents[index]]),
    );
    const { answer: tei } = await ask("/rerank", { query, texts: documents, return_text: true });
    assert.deepEqual(
      tei.map(({ index, text }: { index: number; text: string }) => [index, text]),
      order.map((index) => [index, documents[index]]),
    );
    for (const [body, message] of [
      [{ text_1: ["a", "b"], text_2: ["a", "b", "c"] }, /`text_1` has 2 texts and `text_2` 3/],
      [{ text_1: "a" }, /`text_2` is required/],
    ] as const) {
      const refused = await ask("/score", body);
      assert.equal(refused.status, 400);
      assert.match(refused.answer.error.message, message);
    }
    assert.equal((await ask("/rerank", { query, documents, top_n: 0 })).status, 400);
    const { answer: bare } = await ask("/rerank", { query, documents, return_documents: false });
    assert.deepEqual(Object.keys(bare.results[0]), ["index", "relevance_score"]);
    const { answer: tooLong } = await ask("/v1/embeddings", { input: ["a", "b ".repeat(200)] });
    assert.match(tooLong.error.message, /It is at position 1\. `truncate_prompt_tokens: -1` shortens it/);
    const { answer: lacking } = await ask("/rerank", { query: "", documents });
    assert.match(lacking.error.message, /`query` must be a text that is not empty/);
  });

  test("fewer dimensions are the first ones, at length 1", async () => {
    const [text] = texts;
    const whole = await client.embeddings.create({ model, input: text?.text ?? "", encoding_format: "float" });
    const cut = await client.embeddings.create({
      model,
      input: text?.text ?? "",
      dimensions: 8,
      encoding_format: "float",
    });
    const first = (whole.data[0]?.embedding ?? []).slice(0, 8);
    const length = Math.hypot(...first);
    assert.ok(
      distance(
        cut.data[0]?.embedding ?? [],
        first.map((value) => value / length),
      ) < 1e-6,
    );
    await assert.rejects(
      client.embeddings.create({ model, input: "a", dimensions: 33 }),
      /`dimensions` is 33.*have 32/,
    );
  });

  test("token ids beyond the vocabulary, and a label's route, are refused", async () => {
    await assert.rejects(
      client.embeddings.create({ model, input: [2, 99_999, 3] }),
      /`input` has the token id 99999; 0 to \d+ are allowed/,
    );
    const refused = await post(service.url, "/classify", { input: "a" });
    assert.equal(refused.status, 422);
    await service.assertIdle();
  });
});

test("a model with one label reads two texts together, and scores them by it", async () => {
  const source = "bert-sequence-classification";
  const folder = await mkdtemp(join(tmpdir(), "lorikeet-cross-"));
  try {
    await cp(join(taskRoot, source), folder, { recursive: true });
    const config = JSON.parse(readFileSync(join(folder, "config.json"), "utf8"));
    await writeFile(join(folder, "config.json"), JSON.stringify({ ...config, id2label: { 0: "fits" } }));
    await using service = await openService({ model: folder });
    const scoresFor = async (pairs: object): Promise<number[]> => {
      const response = await post(service.url, "/score", pairs);
      return JSON.parse(await response.text()).data.map(({ score }: { score: number }) => score);
    };
    const [one, two] = await scoresFor({ text_1: "a quiet film", text_2: ["a dull story", "a warm voice"] });
    assert.ok(one !== undefined && two !== undefined && one !== two && one > 0 && one < 1);
    assert.deepEqual(await scoresFor({ text_1: ["a quiet film"], text_2: "a warm voice" }), [two]);
    // The layer that answers decides: this one has three outputs, as an adapter's over a base with one label may have.
    const { data } = JSON.parse(await (await post(service.url, "/classify", { input: "a warm voice" })).text());
    const [{ probs }] = data;
    assert.equal(probs.length, 3);
    assert.ok(Math.abs(probs.reduce((sum: number, each: number) => sum + each, 0) - 1) < 1e-5, String(probs));
  } finally {
    await rm(folder, { recursive: true });
  }
});
