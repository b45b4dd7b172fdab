/** Layers of labels over decoders, served over HTTP: adapters' own of any size in one batch, and a base that is a classifier, as PyTorch computes them. */

import assert from "node:assert/strict";
import { cp, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { SafetensorsFile } from "../../src/tensor/safetensors.js";
import { post } from "../support/client.js";
import { adapterFolder, oracleRoot } from "../support/oracle.js";
import { relativeDistance } from "../support/relative-distance.js";
import { adaptersFolder, openService, type RunningService } from "../support/service.js";

const root = "test/fixtures/decoder-heads";
const bound = process.env.LORIKEET_TEST_DEVICE === undefined ? 2e-5 : 2e-2;

interface Classified {
  readonly data: readonly { readonly label: string; readonly probs: number[]; readonly num_classes: number }[];
  readonly error?: { readonly message: string; readonly code: string };
}

async function readTexts(): Promise<number[][]> {
  await using file = await SafetensorsFile.open(join(root, "texts.safetensors"));
  const texts: number[][] = [];
  for (let i = 0; i < file.tensors.size; i++) {
    const bytes = await file.read(`ids.${i}`);
    texts.push([...new BigInt64Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 8)].map(Number));
  }
  return texts;
}

/** What PyTorch computes for each text. */
async function readLogits(name: string): Promise<Float32Array[]> {
  await using file = await SafetensorsFile.open(join(root, "logits.safetensors"));
  const all = await file.readFloat32(name);
  const size = file.tensor(name).shape[1] ?? 0;
  return Array.from({ length: all.length / size }, (_, row) => all.slice(row * size, (row + 1) * size));
}

/** A tokenizer whose words are the ids themselves; two texts follow one another. */
const tokenizer = {
  version: "1.0",
  added_tokens: [],
  normalizer: null,
  pre_tokenizer: { type: "WhitespaceSplit" },
  post_processor: {
    type: "TemplateProcessing",
    single: [{ Sequence: { id: "A", type_id: 0 } }],
    pair: [{ Sequence: { id: "A", type_id: 0 } }, { Sequence: { id: "B", type_id: 0 } }],
    special_tokens: {},
  },
  decoder: null,
  model: {
    type: "WordLevel",
    vocab: Object.fromEntries(Array.from({ length: 320 }, (_, id) => [String(id), id])),
    unk_token: "1",
  },
};

/** A copy of a model with that tokenizer. */
async function withTokenizer(source: string): Promise<AsyncDisposable & { path: string }> {
  const folder = await mkdtemp(join(tmpdir(), "lorikeet-heads-"));
  const path = join(folder, "model");
  await cp(source, path, { recursive: true, filter: (file) => !/train|adapters/.test(file.slice(source.length)) });
  await writeFile(join(path, "tokenizer.json"), JSON.stringify(tokenizer));
  return { path, [Symbol.asyncDispose]: () => rm(folder, { recursive: true }) };
}

/** What the models of a server are for, as it lists them. */
async function tasksOf(url: string): Promise<Record<string, string[]>> {
  const { data } = JSON.parse(await (await fetch(`${url}/v1/models`)).text());
  return Object.fromEntries(data.map(({ id, tasks }: { id: string; tasks: string[] }) => [id, tasks]));
}

const ofVectors = ["feature-extraction", "sentence-similarity"];

const sigmoid = (value: number): number => 1 / (1 + Math.exp(-value));

function softmax(logits: ArrayLike<number>): Float32Array {
  const powers = Float64Array.from(logits, (value) => Math.exp(value));
  const sum = powers.reduce((total, power) => total + power, 0);
  return Float32Array.from(powers, (power) => power / sum);
}

describe("adapters with a classification head", () => {
  let texts: number[][];
  let model: Awaited<ReturnType<typeof withTokenizer>>;
  let adapters: Awaited<ReturnType<typeof adaptersFolder>>;
  let service: RunningService;
  before(async () => {
    texts = await readTexts();
    model = await withTokenizer(join(oracleRoot, "llama"));
    const own = ["three", "one", "dora"].map((name) => [name, join(root, "adapters", name)]);
    adapters = await adaptersFolder({ ...Object.fromEntries(own), plain: adapterFolder("llama", "attn-r8") });
    service = await openService({
      model: model.path,
      adapters: adapters.path,
      maxBatch: "4",
      servedModelName: "llama",
    });
  });
  after(async () => {
    await service?.assertIdle();
    await service?.[Symbol.asyncDispose]();
    await adapters[Symbol.asyncDispose]();
    await model[Symbol.asyncDispose]();
  });

  const classify = async (body: object): Promise<Classified> =>
    JSON.parse(await (await post(service.url, "/classify", body)).text());

  test("give PyTorch's scores, together and alone, beside texts that are generated", async () => {
    const names = ["three", "one", "dora"];
    const generating = post(service.url, "/v1/completions", { model: "plain", prompt: texts[1], max_tokens: 16 });
    const answers = await Promise.all(
      names.map((name) => classify({ model: name, input: texts, use_activation: false })),
    );
    for (const [i, name] of names.entries()) {
      const expected = await readLogits(name);
      for (const [row, logits] of expected.entries()) {
        const found = answers[i]?.data[row]?.probs ?? [];
        const distance = relativeDistance(Float32Array.from(found), logits);
        assert.ok(distance <= bound, `${name}, text ${row}: ${distance}`);
        const alone = await classify({ model: name, input: texts[row], use_activation: false });
        assert.deepEqual(alone.data[0]?.probs, found, "the same bits alone");
      }
    }
    assert.equal((await generating).status, 200);
  });

  test("name their labels, and score one label by itself", async () => {
    const [three] = await readLogits("three");
    const [one] = await readLogits("one");
    const [dora] = await readLogits("dora");
    assert.ok(three && one && dora);
    const labelled = (await classify({ model: "three", input: texts[0] })).data[0];
    assert.ok(relativeDistance(Float32Array.from(labelled?.probs ?? []), softmax(three)) <= bound);
    assert.equal(labelled?.label, ["bad", "fair", "good"][three.indexOf(Math.max(...three))]);
    const unnamed = (await classify({ model: "dora", input: texts[0] })).data[0];
    assert.equal(unnamed?.label, `LABEL_${dora.indexOf(Math.max(...dora))}`);
    const inputs = (texts[0] ?? []).join(" ");
    for (const path of ["/models/one", "/models/one/pipeline/text-classification"]) {
      const [[found]] = JSON.parse(await (await post(service.url, path, { inputs })).text());
      assert.ok(Math.abs(found.score - sigmoid(one[0] ?? 0)) < 1e-4, path);
    }
  });

  test("with one label say how well two texts fit, and other models by their vectors", async () => {
    const [query = "", ...documents] = texts.map((ids) => ids.join(" "));
    const joined = documents.map((document) => `${query} ${document}`);
    const { data } = await classify({ model: "one", input: joined });
    const expected = data.map(({ probs }) => probs[0] ?? 0);
    const asked = { model: "one", text_1: query, text_2: documents };
    const scored = JSON.parse(await (await post(service.url, "/score", asked)).text());
    assert.deepEqual(
      scored.data.map(({ score }: { score: number }) => score),
      expected,
    );
    const ranked = JSON.parse(await (await post(service.url, "/rerank", { model: "one", query, documents })).text());
    assert.deepEqual(
      ranked.results.map(({ relevance_score: score }: { relevance_score: number }) => score),
      expected.toSorted((a, b) => b - a),
    );
    const own = { model: "three", text_1: query, text_2: query };
    const [{ score }] = JSON.parse(await (await post(service.url, "/score", own)).text()).data;
    assert.ok(Math.abs(score - 1) < 1e-6, "the cosine of a text with itself");
  });

  test("are embedders too, and generate text through their LoRA", async () => {
    const { data } = JSON.parse(
      await (await post(service.url, "/v1/embeddings", { model: "three", input: texts[0] })).text(),
    );
    assert.equal(data[0].embedding.length, 64);
    const completion = await post(service.url, "/v1/completions", { model: "three", prompt: texts[0], max_tokens: 2 });
    assert.equal(completion.status, 200);
  });

  test("are listed as classifiers, beside the base and adapters that write", async () => {
    const written = ["text-generation", ...ofVectors];
    const labelled = ["text-classification", ...ofVectors];
    const all = { llama: written, dora: labelled, one: labelled, plain: written, three: labelled };
    assert.deepEqual(await tasksOf(service.url), all);
    const { tasks } = JSON.parse(await (await fetch(`${service.url}/v1/adapters/three`)).text());
    assert.deepEqual(tasks, labelled);
    const { bases } = JSON.parse(await (await fetch(service.url)).text());
    assert.deepEqual(bases, [{ name: "llama", text: true, task: null, tasks: written, trains: [] }]);
  });

  test("an adapter without one, and the base, classify nothing", async () => {
    for (const name of ["plain", "llama"]) {
      const { error } = await classify({ model: name, input: texts[0] });
      assert.equal(error?.code, "model_unsupported");
    }
  });

  test("say in their signature how many labels they have", async () => {
    const shapes = await Promise.all(
      ["three", "one", "llama"].map(async (name) => {
        const { outputs, platform } = JSON.parse(await (await fetch(`${service.url}/v2/models/${name}`)).text());
        assert.equal(platform, "lorikeet_safetensors");
        return outputs.map((output: { name: string; shape: number[] }) => [output.name, output.shape.at(-1)]);
      }),
    );
    assert.deepEqual(shapes, [
      [
        ["sentence_embedding", 64],
        ["logits", 3],
      ],
      [
        ["sentence_embedding", 64],
        ["logits", 1],
      ],
      [["sentence_embedding", 64]],
    ]);
  });
});

describe("a base that is a classifier", () => {
  let texts: number[][];
  let model: Awaited<ReturnType<typeof withTokenizer>>;
  let adapters: Awaited<ReturnType<typeof adaptersFolder>>;
  let service: RunningService;
  before(async () => {
    texts = await readTexts();
    model = await withTokenizer(join(root, "classifier"));
    adapters = await adaptersFolder({ own: join(root, "classifier-adapter") });
    service = await openService({ model: model.path, adapters: adapters.path, servedModelName: "judge" });
  });
  after(async () => {
    await service?.[Symbol.asyncDispose]();
    await adapters[Symbol.asyncDispose]();
    await model[Symbol.asyncDispose]();
  });

  test("gives PyTorch's scores by its own labels, and an adapter its own", async () => {
    for (const [name, fixture] of [
      ["judge", "classifier"],
      ["own", "classifier-adapter"],
    ] as const) {
      const expected = await readLogits(fixture);
      const answer: Classified = JSON.parse(
        await (await post(service.url, "/classify", { model: name, input: texts })).text(),
      );
      for (const [row, logits] of expected.entries()) {
        const { probs = [], label } = answer.data[row] ?? {};
        const distance = relativeDistance(Float32Array.from(probs), softmax(logits));
        assert.ok(distance <= bound, `${name}, text ${row}: ${distance}`);
        assert.equal(label, ["no", "maybe", "yes", "always"][logits.indexOf(Math.max(...logits))]);
      }
    }
  });

  test("answers the pipeline of its task, and refuses to generate", async () => {
    const inputs = (texts[1] ?? []).join(" ");
    const [found] = JSON.parse(
      await (await post(service.url, "/models/judge", { inputs, parameters: { top_k: 4 } })).text(),
    );
    const logits = (await readLogits("classifier"))[1] ?? assert.fail();
    assert.equal(found.length, 4);
    assert.ok(Math.abs(found[0].score - Math.max(...softmax(logits))) < 1e-5);
    const refused = await post(service.url, "/v1/completions", { prompt: texts[0], max_tokens: 2 });
    assert.match(await refused.text(), /is a classifier, which generates no text; \/classify answers/);
    assert.equal(refused.status, 422);
    const labelled = ["text-classification", ...ofVectors];
    assert.deepEqual(await tasksOf(service.url), { judge: labelled, own: labelled });
  });
});
