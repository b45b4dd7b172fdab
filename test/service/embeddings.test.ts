/** Vectors of a decoder over HTTP: as PyTorch computes them, beside texts that are generated, and bad bodies refused. */

import assert from "node:assert/strict";
import { cp, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import OpenAI from "openai";
import { SafetensorsFile } from "../../src/tensor/safetensors.js";
import { post } from "../support/client.js";
import { adapterFolder, oracleRoot, readExpected } from "../support/oracle.js";
import { relativeDistance } from "../support/relative-distance.js";
import { adaptersFolder, bookworm, openService, type RunningService } from "../support/service.js";

interface Vectors {
  readonly data: readonly { readonly index: number; readonly embedding: number[] }[];
  readonly usage: { readonly prompt_tokens: number };
  readonly error?: { readonly message: string; readonly code: string };
}

const unit = (vector: Float32Array): Float32Array => {
  const length = Math.hypot(...vector);
  return vector.map((value) => value / length);
};

const bound = process.env.LORIKEET_TEST_DEVICE === undefined ? 2e-5 : 2e-2;

describe("a decoder", () => {
  let service: RunningService;
  let adapters: Awaited<ReturnType<typeof adaptersFolder>>;
  let input: number[];
  before(async () => {
    const names = ["attn-r8", "all-r4-rslora", "patterns"];
    adapters = await adaptersFolder(Object.fromEntries(names.map((name) => [name, adapterFolder("llama", name)])));
    service = await openService({
      ...{ model: join(oracleRoot, "llama"), adapters: adapters.path },
      ...{ maxSequences: "4", maxBatch: "4" },
    });
    input = (await readExpected(join(oracleRoot, "llama"))).inputIds;
  });
  after(async () => {
    await service?.assertIdle();
    await service?.[Symbol.asyncDispose]();
    await adapters[Symbol.asyncDispose]();
  });

  const embed = async (body: object, url = service.url): Promise<{ status: number; answer: Vectors }> => {
    const response = await post(url, "/v1/embeddings", body);
    return { status: response.status, answer: JSON.parse(await response.text()) };
  };

  /** [last, mean], at length 1. */
  const expected = async (name: string): Promise<Float32Array[]> => {
    await using file = await SafetensorsFile.open("test/fixtures/decoder-heads/vectors.safetensors");
    const both = await file.readFloat32(`llama/${name}`);
    return [both.subarray(0, both.length / 2), both.subarray(both.length / 2)].map(unit);
  };

  test("gives PyTorch's vectors of the last token, each adapter its own, beside texts that are generated", async () => {
    const names = ["llama", "attn-r8", "all-r4-rslora", "patterns"];
    const alone = new Map<string, number[]>();
    for (const model of names) {
      const { status, answer } = await embed({ model, input });
      assert.equal(status, 200, answer.error?.message);
      const vector = answer.data[0]?.embedding ?? [];
      const [last] = await expected(model === "llama" ? "base" : model);
      const distance = relativeDistance(Float32Array.from(vector), last ?? assert.fail());
      assert.ok(distance <= bound, `${model}: ${distance}`);
      assert.equal(answer.usage.prompt_tokens, 24);
      alone.set(model, vector);
    }
    const generating = names.map((model) =>
      post(service.url, "/v1/completions", { model, prompt: input, max_tokens: 24, temperature: 0, ignore_eos: true }),
    );
    const rows = [input, input.slice(2), input.slice(5)];
    const answers = await Promise.all([...names, ...names].map((model) => embed({ model, input: rows })));
    for (const [i, { answer }] of answers.entries()) {
      const model = names[i % names.length] ?? "";
      assert.equal(answer.data.length, 3);
      assert.deepEqual(answer.data[0]?.embedding, alone.get(model), `${model}: the same bits in company`);
    }
    for (const response of await Promise.all(generating)) {
      const { usage } = JSON.parse(await (await response).text());
      assert.equal(usage.completion_tokens, 24);
    }
  });

  test("cuts vectors to dimensions at length 1, and sends them as base64", async () => {
    const whole = (await embed({ input })).answer.data[0]?.embedding ?? [];
    const short = (await embed({ input, dimensions: 16 })).answer.data[0]?.embedding ?? [];
    const wanted = unit(Float32Array.from(whole.slice(0, 16)));
    assert.ok(relativeDistance(Float32Array.from(short), wanted) < 1e-6);
    const { answer } = await embed({ input: [input], encoding_format: "base64" });
    const bytes = Buffer.from(String(answer.data[0]?.embedding), "base64");
    assert.deepEqual(
      Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readFloatLE(4 * i)),
      whole,
    );
  });

  test("refuses what it cannot embed", async () => {
    const cases: [body: object, status: number, message: RegExp][] = [
      [{ input: "a text" }, 400, /The model has no tokenizer.json/],
      [{ input: [1, 320] }, 400, /token id 320; 0 to 319 are allowed/],
      [{ input: Array(65).fill(5) }, 400, /65 tokens; the model takes at most 64/],
      [{ input: [[5], [6], [7], [8], [9]] }, 400, /1 to 4 texts or lists of token ids/],
      [{ input, dimensions: 65 }, 400, /`dimensions` is 65; the model's embeddings have 64/],
      [{ input, model: "nobody" }, 404, /`nobody` does not exist/],
    ];
    for (const [body, status, message] of cases) {
      const { status: found, answer } = await embed(body);
      assert.match(answer.error?.message ?? "", message);
      assert.equal(found, status);
    }
    const classified = await post(service.url, "/classify", { input: "a text" });
    assert.equal(classified.status, 400);
  });

  test("pools the mean where --pooling or modules.json says so, and leaves its length where modules.json does", async () => {
    const folder = await mkdtemp(join(tmpdir(), "lorikeet-pooling-"));
    try {
      const model = join(folder, "llama");
      await cp(join(oracleRoot, "llama"), model, { recursive: true, filter: (path) => !path.includes("train") });
      const vectorOf = async (flags: object): Promise<Float32Array> => {
        await using other = await openService({ model, ...flags });
        return Float32Array.from((await embed({ input }, other.url)).answer.data[0]?.embedding ?? []);
      };
      const [last, mean] = await expected("base");
      assert.ok(last && mean);
      assert.ok(relativeDistance(await vectorOf({ pooling: "mean" }), mean) <= bound);
      await mkdir(join(model, "1_Pooling"));
      await writeFile(join(model, "1_Pooling/config.json"), JSON.stringify({ pooling_mode_mean_tokens: true }));
      const layers = ["Transformer", "Pooling"].map((kind, i) => ({
        type: `sentence_transformers.models.${kind}`,
        path: i === 1 ? "1_Pooling" : "",
      }));
      await writeFile(join(model, "modules.json"), JSON.stringify(layers));
      const found = await vectorOf({});
      assert.ok(Math.abs(Math.hypot(...found) - 1) > 0.1, "without Normalize its length is its own");
      assert.ok(relativeDistance(unit(found), mean) <= bound);
      assert.ok(relativeDistance(unit(await vectorOf({ pooling: "last" })), last) <= bound, "the option overrides");
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});

test("the openai package and Hugging Face's pipeline embed texts with the language model", async () => {
  await using service = await openService({ model: bookworm });
  const client = new OpenAI({ baseURL: `${service.url}/v1`, apiKey: "none" });
  const input = ["It was a dark night.", "It was a dark night, and the rain fell."];
  const { data, usage } = await client.embeddings.create({ model: "bookworm-7m", input });
  const tokens = await post(service.url, "/tokenize", { prompt: input[0] });
  const { tokens: ids } = JSON.parse(await tokens.text());
  const byIds = await client.embeddings.create({ model: "bookworm-7m", input: ids });
  assert.deepEqual(byIds.data[0]?.embedding, data[0]?.embedding, "a text is its tokens, special ones included");
  assert.ok(usage.prompt_tokens > ids.length);
  assert.ok(Math.abs(Math.hypot(...(data[1]?.embedding ?? [])) - 1) < 1e-6);
  const response = await post(service.url, "/models/bookworm-7m", { inputs: input[1] });
  assert.deepEqual(JSON.parse(await response.text()), Array.from(Float32Array.from(data[1]?.embedding ?? [])));
});
