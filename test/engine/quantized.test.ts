/** What quantization costs: the integer kernels against fp32 on the same (dequantized) weights, and against the model itself. */
import assert from "node:assert/strict";
import { copyFile, mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { loadAdapter } from "../../src/adapter/format.js";
import type { HostAdapter } from "../../src/adapter/types.js";
import { AdapterBank } from "../../src/engine/adapters/bank.js";
import { foldMagnitudes } from "../../src/engine/adapters/dora-gains.js";
import { KvCache } from "../../src/engine/kv-cache.js";
import { Runner } from "../../src/engine/runner.js";
import { openCheckpoint } from "../../src/model/checkpoint/open.js";
import { targetModules } from "../../src/model/modules.js";
import { cacheShape } from "../../src/model/serving/cache-shape.js";
import type { Checkpoint } from "../../src/model/types.js";
import { writeSafetensors } from "../../src/tensor/safetensors-write.js";
import { loadTokenizer } from "../../src/text/tokenizer/tokenizer.js";
import { WeightNorms } from "../../src/weights/norms.js";
import { type PlanOptions, planWeights } from "../../src/weights/plan.js";
import { prepareWeights } from "../../src/weights/prepare.js";
import { onlyWhenLong } from "../support/long.js";
import { weightLengths } from "../support/magnitudes.js";
import { writeRandomAdapter } from "../support/random-adapter.js";
import { readWeight } from "../support/read-weight.js";

// Written for this test: the model has never seen it.
const passage = `The lamp in the upper window had been burning since seven o'clock, and still the old clockmaker did not
come down. His daughter set the kettle upon the hearth for the third time, and looked again at the letter which lay beside
her plate. "He will not read it," said she to the cat, who was the only person in the room, "and if he does read it he will
not answer it." The cat, being of the same opinion, closed her eyes. Presently there was a step upon the stair, slow and
uneven, and the door was opened by a tall man in a grey coat, with a candle in one hand and a small brass wheel in the other.
"It goes," he said, and his face was so full of happiness that she forgot the letter altogether. "It has gone for an hour
without stopping, and it has not lost so much as a second!" They went up together, and stood before the great clock in the
dark, and listened. It was raining upon the roof; far away in the village a dog barked twice, and was silent. In the morning
the carrier came for the clock, and they packed it in straw like an egg, and walked behind the cart as far as the bridge.
"Now you may read me that letter," said her father, when the cart was out of sight, "for I have nothing left to be afraid of."`;

let folder: string;
let checkpoint: Checkpoint;
let ids: number[];
const adapters: HostAdapter[] = [];

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "lorikeet-quantized-"));
  checkpoint = await openCheckpoint("models/bookworm-7m");
  const tokenizer = await loadTokenizer("models/bookworm-7m");
  ids = (await tokenizer?.encode(passage.replaceAll("\n", " "), { addSpecialTokens: true })) ?? [];
  await tokenizer?.close();
  assert.ok(ids.length > 300);
  for (const name of ["plays", "sentiment"]) {
    adapters.push(await loadAdapter(`adapters/${name}`, targetModules(checkpoint.config), {}));
  }
  const modules = targetModules(checkpoint.config);
  const lengths = await weightLengths(checkpoint, modules);
  const dora = join(folder, "dora");
  await writeRandomAdapter(dora, modules, { rank: 8, seed: 1, strength: 0.02, lengths });
  await using norms = new WeightNorms(checkpoint, { threads: 2 });
  adapters.push(await foldMagnitudes(await loadAdapter(dora, modules), norms));
});

after(() => rm(folder, { recursive: true, force: true }));

/** Logits [ids, vocab] of the base, then of each adapter, as the served graph computes them. */
async function logitsOf(source: Checkpoint, options: PlanOptions): Promise<Float32Array[]> {
  const { config, tensors } = source;
  const prepared = await prepareWeights(source, planWeights(config, tensors, options), {
    cacheDirectory: join(folder, "cache"),
  });
  const capacity = 512;
  const runner = await Runner.create({
    config,
    weights: prepared.weights,
    capacity,
    maxRows: 2,
    session: { threads: 2, spinning: false },
    exact: true,
    evenRows: false,
  });
  try {
    const cache = new KvCache({ ...cacheShape(config), slots: 1, capacity });
    const bank = new AdapterBank({ groups: runner.groups, places: 2, maxBytes: 1 << 28 });
    const all: Float32Array[] = [];
    for (const adapter of [null, ...adapters]) {
      if (adapter) await runner.prepare(adapter);
      const hold = adapter && (await bank.acquire(adapter));
      const chunk = { slot: 0, start: 0, tokens: ids, length: ids.length, allRows: true, adapter: hold };
      all.push((await runner.prefill(chunk, cache, bank)).slice());
      hold?.release();
    }
    return all;
  } finally {
    runner[Symbol.dispose]();
    await prepared.close();
  }
}

/** Of the next token, in nats a token. */
function loss(logits: Float32Array): number {
  const { vocabSize } = checkpoint.config;
  let sum = 0;
  for (let i = 0; i + 1 < ids.length; i++) {
    const row = logits.subarray(i * vocabSize, (i + 1) * vocabSize);
    const largest = row.reduce((a, b) => Math.max(a, b));
    const total = row.reduce((a, b) => a + Math.exp(b - largest), 0);
    sum += Math.log(total) + largest - (row[ids[i + 1] ?? 0] ?? 0);
  }
  return sum / (ids.length - 1);
}

const perplexityRatio = (logits: Float32Array, reference: Float32Array) => Math.exp(loss(logits) - loss(reference));

function relativeError(found: Float32Array, expected: Float32Array): number {
  let [error, size] = [0, 0];
  for (const [i, value] of expected.entries()) {
    error += ((found[i] ?? 0) - value) ** 2;
    size += value ** 2;
  }
  return Math.sqrt(error / size);
}

/** The same model with every weight replaced by what its quantized form stands for. */
async function dequantized(options: PlanOptions, name: string): Promise<Checkpoint> {
  const plan = planWeights(checkpoint.config, checkpoint.tensors, { ...options, pack: false });
  const prepared = await prepareWeights(checkpoint, plan, { cacheDirectory: join(folder, "cache") });
  const directory = join(folder, name);
  await mkdir(directory);
  await copyFile("models/bookworm-7m/config.json", join(directory, "config.json"));
  const tensors = [...prepared.weights.values()].map((weight) => ({
    name: weight.name,
    dtype: "F32" as const,
    shape: weight.shape,
    data: () => readWeight(weight),
  }));
  await writeSafetensors(join(directory, "model.safetensors"), tensors, { format: "pt" });
  await prepared.close();
  return openCheckpoint(directory);
}

/**
 * The base keeps to the bounds that the project promises. Adapters are fp32 beside it, but they make some channels of the
 * activations larger, which one scale a row feels: their bounds say how much.
 */
const forms: readonly {
  name: string;
  options: PlanOptions;
  perplexity: number;
  withAdapters: [number, number];
  effort?: object;
}[] = [
  {
    name: "int8 per row",
    options: { dtype: "int8", int8Kind: "rows", pack: true },
    perplexity: 1.01,
    withAdapters: [0.05, 1.03],
  },
  {
    name: "int8 in blocks",
    options: { dtype: "int8", int8Kind: "blocks", pack: true },
    perplexity: 1.01,
    withAdapters: [0.025, 1.01],
    effort: onlyWhenLong,
  },
  { name: "int4", options: { dtype: "int4", pack: true }, perplexity: 1.08, withAdapters: [0.025, 1.08] },
];

let reference: Float32Array[];

for (const { name, options, perplexity, withAdapters, effort = {} } of forms) {
  test(
    `${name}: logits within 2 % of fp32 on the dequantized weights, perplexity times at most ${perplexity}; adapters too`,
    effort,
    async () => {
      reference ??= await logitsOf(checkpoint, { dtype: "fp32" });
      const found = await logitsOf(checkpoint, options);
      const expected = await logitsOf(await dequantized(options, name), { dtype: "fp32" });
      for (const [i, logits] of found.entries()) {
        const [maxError, maxRatio] = i === 0 ? [2e-2, perplexity] : withAdapters;
        const what = ["base", "plays", "sentiment", "DoRA"][i];
        const error = relativeError(logits, expected[i] ?? logits);
        assert.ok(error <= maxError, `${what}: relative error ${error}`);
        const ratio = perplexityRatio(logits, reference[i] ?? logits);
        assert.ok(ratio <= maxRatio, `${what}: perplexity times ${ratio}`);
      }
    },
  );
}

test("the passage resembles the model's training data", async () => {
  reference ??= await logitsOf(checkpoint, { dtype: "fp32" });
  assert.ok(loss(reference[0] ?? new Float32Array()) < 4.5);
});
