/**
 * The whole of Lorikeet in one page, and the best first read: a model is made of random numbers, two adapters are trained on it, and a
 * server that holds the model once answers with either, streams, and swaps one for the other while it runs.
 */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { openCheckpoint } from "../src/model/checkpoint/open.js";
import { writeRandomCheckpoint } from "../src/model/random.js";
import { loadTokenizer } from "../src/text/tokenizer/tokenizer.js";
import { loadData } from "../src/train/data/dataset.js";
import { parseLabelTemplate } from "../src/train/data/encode.js";
import { openSession } from "../src/train/session.js";
import { type TrainSettings, trainDefaults } from "../src/train/settings.js";
import { initialState, train } from "../src/train/trainer.js";
import { complete, only, post, put, remove, stream } from "./support/client.js";
import { openService } from "./support/service.js";
import { writeByteTokenizer } from "./support/tiny-model.js";

const root = await mkdtemp(join(tmpdir(), "lorikeet-tiny-"));
after(() => rm(root, { recursive: true }));
const model = join(root, "model");
const question = "Who are you? ";

test("a tiny model is built, trained, saved, served, streamed and swapped", async () => {
  // A checkpoint as Hugging Face stores it: a Llama of two layers. Its tokens are bytes; its weights come from a seed.
  await writeRandomCheckpoint(model, llama, { seed: 7, dtype: "F32", deviation: 0.2 });
  writeByteTokenizer(model);

  // Training writes PEFT folders. The base's weights stay as they are; an adapter adds a product of two thin matrices to each layer.
  const [parrot, cat] = [join(root, "parrot"), join(root, "cat")];
  await teach("a parrot", parrot);
  await teach("a cat", cat);

  // The server loads the model once. Adapters live in a folder of its own, which is empty.
  const adapters = await mkdtemp(join(root, "store-"));
  await using server = await openService({ model, adapters });
  const { url } = server;
  const ask = async (adapter: string) => {
    const answer = await complete(url, { model: adapter, prompt: question, max_tokens: 12, temperature: 0 });
    return only(answer).text;
  };
  const before = await ask("model");

  // An upload is checked, stored and named; the next request that names it finds it. The base still answers as it did.
  const { outcome } = await put(url, "pet", parrot);
  assert.equal(outcome, "created");
  assert.equal(await ask("pet"), "a parrot");
  assert.equal(await ask("model"), before);
  assert.notEqual(before, "a parrot");

  // A stream brings the same answer in pieces: text as soon as it is generated.
  const pieces: string[] = [];
  for await (const { choices } of stream(url, { model: "pet", prompt: question, max_tokens: 12, temperature: 0 })) {
    pieces.push(...choices.map(({ text }) => text));
  }
  assert.ok(pieces.length > 1);
  assert.equal(pieces.join(""), "a parrot");

  // Requests for different adapters, and for none, run in one batch, and each gets what it gets alone.
  await put(url, "other", cat);
  assert.deepEqual(await Promise.all(["pet", "other", "model"].map(ask)), ["a parrot", "a cat", before]);

  // A name is a pointer. Pointing it at another adapter changes the answer at once; removing it leaves an error, never the base.
  assert.equal((await put(url, "pet", cat)).outcome, "replaced");
  assert.equal(await ask("pet"), "a cat");
  await remove(url, "pet");
  assert.equal((await post(url, "/v1/completions", { model: "pet", prompt: question })).status, 404);

  // Nothing is left in use: every slot and every lease came back.
  await server.assertIdle();
});

const llama = {
  ...{ architectures: ["LlamaForCausalLM"], model_type: "llama", dtype: "float32", vocab_size: 260 },
  ...{ hidden_size: 64, intermediate_size: 128, num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2 },
  ...{ hidden_act: "silu", rms_norm_eps: 1e-5, rope_theta: 10_000, max_position_embeddings: 64 },
  ...{ tie_word_embeddings: false, bos_token_id: 0, eos_token_id: 0, pad_token_id: 3 },
};

/** Trains an adapter to answer the question, by what `lorikeet train` does, and saves it as a PEFT folder. */
async function teach(answer: string, out: string): Promise<void> {
  const rows = `${out}.jsonl`;
  await writeFile(rows, `${JSON.stringify({ prompt: question, completion: answer })}\n`);
  const settings: TrainSettings = {
    ...trainDefaults,
    learningRate: 0.02,
    loraR: 4,
    loraAlpha: 8,
    batchSize: 1,
    gradientAccumulationSteps: 1,
    maxSteps: 30,
    maxLength: 64,
    validationSplit: 0,
  };
  const checkpoint = await openCheckpoint(model);
  const { vocabSize } = checkpoint.config;
  const tokenizer = await loadTokenizer(model);
  assert.ok(tokenizer);
  const encoding = { tokenizer, endId: 0, bosId: 0, labelTemplate: parseLabelTemplate(settings.labelTemplate) };
  const data = await loadData({ ...settings, ...encoding, path: rows, vocabSize, wants: "rows" });
  await tokenizer.close();
  await using session = await openSession({ checkpoint, settings, data, threads: 1, initFrom: null });
  const losses: number[] = [];
  const end = await train(
    {
      ...session,
      rate: session.schedule,
      batches: (step) => session.plan.step(step),
      steps: session.totalSteps,
      patience: null,
      maxTimeMs: null,
      signal: new AbortController().signal,
      events: { step: ({ loss }) => void losses.push(loss), validated() {}, async checkpoint() {} },
    },
    initialState(),
  );
  assert.equal(end, "done");
  const [first = 0, last = 0] = [losses.at(0), losses.at(-1)];
  assert.ok(last < first / 10, `the loss falls: ${first} at the first step, ${last} at the last`);
  await session.product.write(out);
}
