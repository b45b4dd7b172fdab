/** Routes of other servers over a classifier, an embedder and a predictor of masked tokens: text-embeddings-inference, vLLM's pooling, Hugging Face's client. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { cp, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { InferenceClient } from "@huggingface/inference";
import { post } from "../support/client.js";
import { floatTensor, onnxFile } from "../support/onnx-file.js";
import { openService, type RunningService } from "../support/service.js";
import { taskRoot } from "../support/task-models.js";

interface Text {
  readonly text: string;
  readonly ids: readonly number[];
}

interface Labelled {
  readonly label: string;
  readonly score: number;
}

const classifier = "bert-sequence-classification";
const embedder = "bert-embeddings";
const texts: readonly Text[] = JSON.parse(readFileSync(join(taskRoot, embedder, "texts.json"), "utf8")).slice(0, 3);
const [first, ...others] = texts.map(({ text }) => text);
const sentence = first ?? "";

let labels: RunningService;
let vectors: RunningService;
before(async () => {
  labels = await openService({ model: join(taskRoot, classifier), maxSequences: "4" });
  vectors = await openService({ model: join(taskRoot, embedder), maxSequences: "4" });
});
after(async () => {
  await labels?.[Symbol.asyncDispose]();
  await vectors?.[Symbol.asyncDispose]();
});

async function ask<Answer>({ url }: RunningService, path: string, body: object, status = 200): Promise<Answer> {
  const response = await post(url, path, body);
  const text = await response.text();
  assert.equal(response.status, status, text);
  return JSON.parse(text);
}

const close = (found: number | undefined, wanted: number | undefined): boolean =>
  Math.abs((found ?? Number.NaN) - (wanted ?? Number.NaN)) < 1e-6;
const alike = (found: readonly number[] | undefined, wanted: readonly number[] | undefined): boolean =>
  found?.length === wanted?.length && (found ?? []).every((value, i) => close(value, wanted?.[i]));

const embedding = async (text: string): Promise<number[]> =>
  (await ask<{ data: { embedding: number[] }[] }>(vectors, "/v1/embeddings", { input: text })).data[0]?.embedding ?? [];

const hiddenOf = async (ids: readonly number[]): Promise<number[]> => {
  const inputs = ["input_ids", "attention_mask", "token_type_ids"].map((name, at) => {
    const data = at === 0 ? ids : ids.map(() => (at === 1 ? 1 : 0));
    return { name, shape: [1, ids.length], datatype: "INT64", data };
  });
  const outputs = [{ name: "last_hidden_state" }];
  const answer = await ask<{ outputs: { data: number[] }[] }>(vectors, `/v2/models/${embedder}/infer`, {
    inputs,
    outputs,
  });
  return answer.outputs[0]?.data ?? [];
};

describe("text-embeddings-inference", () => {
  test("embeds texts and token ids, at length 1 unless it is asked not to", async () => {
    const wanted = await embedding(sentence);
    const inputs = [sentence, texts[0]?.ids];
    const [byText, byIds] = await ask<number[][]>(vectors, "/embed", { inputs });
    assert.ok(alike(byText, wanted) && alike(byIds, wanted));
    assert.ok(close(Math.hypot(...(byText ?? [])), 1));
    const [raw] = await ask<number[][]>(vectors, "/embed", { inputs: sentence, normalize: false });
    const length = Math.hypot(...(raw ?? []));
    assert.ok(!close(length, 1));
    assert.ok(
      alike(
        raw?.map((value) => value / length),
        wanted,
      ),
    );
    const [cut] = await ask<number[][]>(vectors, "/embed", { inputs: sentence, dimensions: 3, normalize: false });
    assert.ok(alike(cut, raw?.slice(0, 3)));
  });

  test("embeds the tokens of texts without their padding", async () => {
    const [tokens = []] = await ask<number[][][]>(vectors, "/embed_all", { inputs: sentence });
    const hidden = await hiddenOf(texts[0]?.ids ?? []);
    assert.equal(tokens.length, texts[0]?.ids.length);
    assert.ok(tokens.flat().every((value, i) => Math.abs(value - (hidden[i] ?? 9)) < 1e-4));
  });

  test("predicts labels of a text, of a pair, and of a list of both", async () => {
    const single = await ask<Labelled[]>(labels, "/predict", { inputs: sentence });
    assert.deepEqual(single.map(({ label }) => label).sort(), ["negative", "neutral", "positive"]);
    assert.ok(single.every(({ score }, i) => score <= (single[i - 1]?.score ?? 1)));
    const pair = await ask<Labelled[]>(labels, "/predict", { inputs: [sentence, others[0]] });
    assert.notDeepEqual(pair, single);
    const batch = await ask<Labelled[][]>(labels, "/predict", { inputs: [[sentence], [sentence, others[0]]] });
    assert.deepEqual(batch, [single, pair]);
    const raw = await ask<Labelled[]>(labels, "/predict", { inputs: sentence, raw_scores: true });
    const powers = raw.map(({ score }) => Math.exp(score));
    const sum = powers.reduce((a, b) => a + b, 0);
    assert.ok(single.every(({ score }, i) => close(score, (powers[i] ?? 0) / sum)));
  });

  test("compares and ranks texts by their vectors", async () => {
    const [source, ...wanted] = await Promise.all([sentence, ...others].map(embedding));
    const cosines = wanted.map((other) => other.reduce((sum, value, i) => sum + value * (source?.[i] ?? 0), 0));
    const inputs = { source_sentence: sentence, sentences: others };
    assert.ok(alike(await ask<number[]>(vectors, "/similarity", { inputs }), cosines));
    const ranked = await ask<{ index: number; score: number; text?: string }[]>(vectors, "/rerank", {
      ...{ query: sentence, texts: others, return_text: true },
    });
    assert.deepEqual(
      ranked.map(({ text }) => text),
      ranked.map(({ index }) => others[index]),
    );
    assert.ok(
      ranked.every(({ index, score }, i) => close(score, cosines[index]) && score <= (ranked[i - 1]?.score ?? 1)),
    );
  });

  test("/tokenize and /rerank answer TEI's and vLLM's bodies, each in its own form", async () => {
    const [tokens = []] = await ask<{ id: number; text: string; special: boolean; start: number; stop: number }[][]>(
      ...([vectors, "/tokenize", { inputs: sentence }] as const),
    );
    assert.deepEqual(
      tokens.map(({ id }) => id),
      texts[0]?.ids,
    );
    assert.deepEqual(tokens[0], { id: 2, text: "[CLS]", special: true, start: null, stop: null });
    assert.deepEqual(tokens[1], { id: 54, text: "the", special: false, start: 0, stop: 3 });
    const bare = await ask<{ special: boolean }[][]>(vectors, "/tokenize", {
      ...{ inputs: [sentence], add_special_tokens: false },
    });
    assert.equal(bare[0]?.length, tokens.length - 2);
    const vllm = await ask<object>(vectors, "/tokenize", { prompt: sentence, return_token_strs: true });
    assert.deepEqual(vllm, {
      ...{ count: tokens.length, max_model_len: 48, tokens: texts[0]?.ids },
      token_strs: [
        "[CLS]",
        "the",
        ...Array.from(tokens.slice(2, -1), (_, i) => Object(vllm).token_strs[i + 2]),
        "[SEP]",
      ],
    });
    // As in vLLM and TEI, the tokens of a text are counted even if the model takes fewer.
    const long = "the ".repeat(60);
    assert.equal((await ask<{ count: number }>(vectors, "/tokenize", { prompt: long })).count, 62);
    assert.equal((await ask<unknown[][]>(vectors, "/tokenize", { inputs: long }))[0]?.length, 62);
    const ids = texts.map((each) => each.ids);
    const decoded = await ask<string[]>(vectors, "/decode", { ids });
    assert.ok(decoded[0]?.startsWith("the film is a quiet"));
    assert.deepEqual(await ask(vectors, "/decode", { ids: ids[0] }), decoded.slice(0, 1));
    const { prompt } = await ask<{ prompt: string }>(vectors, "/detokenize", { tokens: ids[0] });
    assert.ok(prompt.startsWith("[CLS]") && prompt.endsWith("[SEP]"), prompt);
    const cohere = await ask<{ results: unknown[] }>(vectors, "/v2/rerank", { query: sentence, documents: others });
    assert.equal(cohere.results.length, 2);
  });

  test("/info says what the base is", async () => {
    const info = async ({ url }: RunningService) => JSON.parse(await (await fetch(`${url}/info`)).text());
    const { model_id, model_type, max_input_length, max_client_batch_size, auto_truncate } = await info(labels);
    assert.deepEqual([model_id, max_input_length, max_client_batch_size, auto_truncate], [classifier, 48, 4, false]);
    assert.deepEqual(model_type.classifier.id2label, { 0: "negative", 1: "neutral", 2: "positive" });
    assert.deepEqual((await info(vectors)).model_type, { embedding: { pooling: "mean" } });
  });

  test("faults have its statuses and its types", async () => {
    const [long, longest] = ["the ".repeat(60), "the ".repeat(200)];
    const cases: [
      service: RunningService,
      path: string,
      body: object,
      status: number,
      type: string,
      message: RegExp,
    ][] = [
      [vectors, "/embed", {}, 422, "Validation", /`inputs` is required/],
      [vectors, "/embed", { inputs: "a", prompt_name: "query" }, 422, "Validation", /`prompt_name` is not supported/],
      [vectors, "/embed", { inputs: "a", truncation_direction: "Left" }, 422, "Validation", /only right is accepted/],
      [vectors, "/embed", { inputs: long }, 413, "Validation", /tokens.*`truncate: true` shortens it/],
      [vectors, "/embed", { inputs: longest }, 413, "Validation", /800 characters.*`truncate: true` shortens it/],
      [vectors, "/tokenize", { inputs: longest }, 413, "Validation", /800 characters; at most 768 are allowed\.$/],
      [vectors, "/embed", { inputs: "a", model: "nobody" }, 404, "Validation", /does not exist/],
      [vectors, "/embed_sparse", { inputs: "a" }, 424, "Backend", /does not predict masked tokens/],
      [vectors, "/predict", { inputs: "a" }, 424, "Backend", /has no output logits .*classification layer/],
      [labels, "/embed", { inputs: "a" }, 424, "Backend", /has no output last_hidden_state/],
      [labels, "/predict", { inputs: ["a", "b", "c"] }, 422, "Validation", /found a list of 3/],
      [labels, "/predict", { inputs: [["a"], "b"] }, 422, "Validation", /found a string of 1 character at position 1/],
      [labels, "/predict", { inputs: [["a"], ["b"], ["c"], ["d"], ["e"]] }, 422, "Validation", /found 5 rows/],
      [vectors, "/rerank", { query: "a", texts: [] }, 422, "Validation", /`texts` must be/],
      [vectors, "/tokenize", { inputs: 7 }, 422, "Validation", /`inputs` must be/],
      [vectors, "/decode", { ids: [[1], [99999]] }, 422, "Validation", /`ids` has the token id 99999; 0 to \d+ are/],
      [vectors, "/decode", { ids: ["a"] }, 422, "Validation", /`ids` must be a list of token ids/],
      [vectors, "/similarity", { inputs: { sentences: ["a"] } }, 422, "Validation", /source_sentence/],
    ];
    for (const [service, path, body, status, type, message] of cases) {
      const { error, error_type } = await ask<{ error: string; error_type: string }>(service, path, body, status);
      assert.equal(error_type, type, `${path}: ${error}`);
      assert.match(error, message);
    }
    const openAi = await ask<{ error: { code: string } }>(vectors, "/tokenize", { prompt: 7 }, 400);
    assert.equal(openAi.error.code, "invalid_value");
  });

  test("texts of any length are cut to their first tokens if that is asked for", async () => {
    const [text, longest] = ["b a ".repeat(48), `${"b a ".repeat(48)}${"c ".repeat(500)}`];
    const cut = { truncate: true };
    for (const path of ["/embed", "/embed_all"])
      assert.deepEqual(
        await ask(vectors, path, { inputs: longest, ...cut }),
        await ask(vectors, path, { inputs: text, ...cut }),
      );
    const [whole, pair] = [{ inputs: [["b", text]] }, { inputs: [["b", longest]] }];
    assert.deepEqual(
      await ask(labels, "/predict", { ...pair, ...cut }),
      await ask(labels, "/predict", { ...whole, ...cut }),
    );
    const embed = (input: string) => ask<object>(vectors, "/v1/embeddings", { input, truncate_prompt_tokens: -1 });
    assert.deepEqual(await embed(longest), await embed(text));
    const asked = { query: longest, documents: [longest, "b"] };
    const { error } = await ask<{ error: { message: string } }>(vectors, "/rerank", asked, 400);
    assert.match(error.message, /1192 characters; at most 768 are allowed\. `truncate_prompt_tokens: -1` shortens it/);
    await ask(vectors, "/rerank", { ...asked, truncate_prompt_tokens: -1 });
    const parameters = { truncation: true };
    await ask(labels, `/models/${classifier}`, { inputs: longest, parameters });
    const refused = await ask<{ error: string }>(labels, `/models/${classifier}`, { inputs: longest }, 400);
    assert.match(refused.error, /`truncation: true` in `parameters` shortens it/);
  });

  test("a predictor of masked tokens embeds texts in its vocabulary", async () => {
    const folder = await mkdtemp(join(tmpdir(), "lorikeet-sparse-"));
    after(() => rm(folder, { recursive: true }));
    for (const name of ["tokenizer.json", "tokenizer_config.json"])
      await cp(join(taskRoot, embedder, name), join(folder, name));
    await writeFile(join(folder, "config.json"), JSON.stringify({ architectures: ["BertForMaskedLM"] }));
    // Each token predicts itself, the more the larger its id.
    const table = Array.from({ length: 200 * 200 }, (_, i) => (i % 201 === 0 ? i / 201 / 100 : -1));
    const model = onnxFile({
      inputs: { input_ids: ["batch", "length"], attention_mask: ["batch", "length"] },
      outputs: { logits: ["batch", "length", 200], mask: ["batch", "length"] },
      types: { input_ids: 7, attention_mask: 7, mask: 7 },
      initializers: [floatTensor("table", [200, 200], table)],
      nodes: [
        { op: "Gather", inputs: ["table", "input_ids"], outputs: ["logits"] },
        { op: "Identity", inputs: ["attention_mask"], outputs: ["mask"] },
      ],
    });
    await writeFile(join(folder, "model.onnx"), model);
    await using service = await openService({ model: folder });
    const [sparse] = await ask<{ index: number; value: number }[][]>(service, "/embed_sparse", {
      inputs: sentence,
    });
    assert.deepEqual(
      sparse?.map(({ index }) => index),
      [...new Set(texts[0]?.ids)].sort((a, b) => a - b),
    );
    assert.ok(sparse?.every(({ index, value }) => close(value, Math.fround(Math.log1p(Math.fround(index / 100))))));
  });
});

test("vLLM's /pooling gives what the model's outputs are for, or what is asked", async () => {
  interface Pooling<Data = number[]> {
    readonly object: string;
    readonly data: readonly {
      readonly index: number;
      readonly object: string;
      readonly data: Data;
    }[];
    readonly usage: { readonly prompt_tokens: number };
    readonly error?: { readonly message: string };
  }
  const wanted = await embedding(sentence);
  const pooled = await ask<Pooling>(vectors, "/pooling", { model: embedder, input: [sentence, ...others] });
  assert.deepEqual([pooled.object, pooled.data[2]?.index, pooled.data[2]?.object], ["list", 2, "pooling"]);
  assert.ok(alike(pooled.data[0]?.data, wanted));
  assert.equal(
    pooled.usage.prompt_tokens,
    texts.reduce((sum, { ids }) => sum + ids.length, 0),
  );
  const packed = await ask<Pooling<string>>(vectors, "/pooling", { input: sentence, encoding_format: "base64" });
  const bytes = Buffer.from(packed.data[0]?.data ?? "", "base64");
  assert.ok(alike([...new Float32Array(Uint8Array.from(bytes).buffer)], wanted));
  const tokens = await ask<Pooling<number[][]>>(vectors, "/v1/pooling", { input: texts[0]?.ids, task: "token_embed" });
  assert.deepEqual([tokens.data[0]?.data.length, tokens.data[0]?.data[0]?.length], [texts[0]?.ids.length, 32]);
  const scored = await ask<Pooling>(labels, "/pooling", { input: sentence });
  const { data } = await ask<{ data: { probs: number[] }[] }>(labels, "/classify", { input: sentence });
  assert.deepEqual(scored.data[0]?.data, data[0]?.probs);
  for (const [service, body, status, message] of [
    [labels, { input: "a", task: "embed" }, 422, /has no output last_hidden_state/],
    [labels, { input: "a", task: "token_classify" }, 422, /has no output logits \[batch, length, labels\]/],
    [vectors, { input: "a", task: "score" }, 400, /`task` must be one of embed, classify/],
    [vectors, { input: "a", dimensions: 3 }, 400, /`dimensions` is not supported/],
    [vectors, { input: "a", encoding_format: "bytes" }, 400, /must be float or base64/],
  ] as const) {
    const refused = await ask<Pooling>(service, "/pooling", body, status);
    assert.match(refused.error?.message ?? "", message);
  }
});

describe("Hugging Face's client", () => {
  const clientOf = ({ url }: RunningService, model: string) =>
    new InferenceClient("none", { endpointUrl: `${url}/models/${model}` });

  test("classifies and compares texts, and embeds them, unchanged", async () => {
    const client = clientOf(labels, classifier);
    const found = await client.textClassification({ inputs: sentence, parameters: { top_k: 2 } });
    const [wanted] = await ask<Labelled[][]>(labels, `/models/${classifier}`, { inputs: sentence });
    assert.deepEqual(found, wanted?.slice(0, 2));
    const raw = await client.textClassification({ inputs: sentence, parameters: { function_to_apply: "none" } });
    assert.ok(raw.some(({ score }) => score < 0));
    const vector = await clientOf(vectors, embedder).featureExtraction({ inputs: sentence, normalize: true });
    assert.ok(alike(vector as number[], await embedding(sentence)));
    const similar = await new InferenceClient("none", {
      endpointUrl: `${vectors.url}/models/${embedder}/pipeline/sentence-similarity`,
    }).sentenceSimilarity({ inputs: { source_sentence: sentence, sentences: others } });
    assert.deepEqual(
      similar,
      await ask(vectors, "/similarity", { inputs: { source_sentence: sentence, sentences: others } }),
    );
    await assert.rejects(
      client.textClassification({ inputs: sentence, parameters: { top_k: 0 } }),
      /must be an integer from 1/,
    );
  });

  test("pairs are read together, by themselves and in a list; options of the hosted service change nothing", async () => {
    const pair = { text: sentence, text_pair: others[0] };
    const options = { use_cache: false, wait_for_model: true };
    const [alone] = await ask<Labelled[][]>(labels, `/models/${classifier}`, { inputs: pair, options });
    const both = await ask<Labelled[][]>(labels, `/models/${classifier}`, {
      inputs: [pair, sentence, { text: sentence }],
    });
    assert.deepEqual(both[0], alone);
    assert.deepEqual(both[1], both[2]);
    assert.notDeepEqual(both[1], alone);
    assert.deepEqual(alone, await ask(labels, "/predict", { inputs: [sentence, others[0]] }));
    for (const [body, message] of [
      [{ inputs: { text: sentence, pair: "b" } }, /`inputs` must be a text, an object with text and text_pair/],
      [{ inputs: [pair, 7] }, /found 7 at position 1/],
      [{ inputs: sentence, parameters: { temperature: 1 } }, /`temperature` is not supported/],
    ] as const) {
      const { error } = await ask<{ error: string }>(labels, `/models/${classifier}`, body, 400);
      assert.match(error, message);
    }
    const vectorPath = `/models/${embedder}`;
    const [cut] = [
      await ask<number[]>(vectors, vectorPath, { inputs: "the ".repeat(60), truncate: true, normalize: false }),
    ];
    assert.ok(cut.length === 32 && !close(Math.hypot(...cut), 1));
    const left = await ask<{ error: string }>(vectors, vectorPath, { inputs: "a", truncation_direction: "left" }, 400);
    assert.match(left.error, /only right is accepted/);
    await labels.assertIdle();
    await vectors.assertIdle();
  });
});
