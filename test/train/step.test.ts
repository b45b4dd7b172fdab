/** What a training step promises beside the oracle: whole models along random directions, pruning, packing, accumulation, chunks, dropout. */
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { openCheckpoint } from "../../src/model/checkpoint/open.js";
import { targetModules, targetModulesWithHead } from "../../src/model/modules.js";
import { attentionBlocks, blockSizes } from "../../src/model/training/masks.js";
import { moduleInputs } from "../../src/model/training/types.js";
import type { DecoderConfig } from "../../src/model/types.js";
import type { WeightSource } from "../../src/model/weights.js";
import { Tensor } from "../../src/runtime/tensor.js";
import { noLabel, type TokenBatch } from "../../src/train/data/batch.js";
import { globalNorm } from "../../src/train/optimizer/optimizer.js";
import { type StepOptions, TrainStep } from "../../src/train/step.js";
import { planWeights } from "../../src/weights/plan.js";
import { prepareWeights } from "../../src/weights/prepare.js";
import { sequence } from "../support/differences.js";
import { keptBytes } from "../support/kept-bytes.js";

const root = "test/fixtures/oracle";

type Choose = (path: string) => boolean;

const common = (config: DecoderConfig, weights: WeightSource, choose: Choose = () => true) => {
  const chosen = targetModulesWithHead(config).filter(({ path }) => choose(path));
  const modules = new Map(chosen.map(({ path }, i) => [path, { rank: 2 + (i % 3), scale: 2 }]));
  return { config, weights, modules, mode: "lora" as const, maxLength: 64, chunks: 2, threads: 1 };
};

async function stepOf(
  family: string,
  options: Partial<StepOptions> = {},
  choose: Choose = () => true,
): Promise<TrainStep> {
  const { config, tensors } = await openCheckpoint(join(root, family));
  const plan = planWeights(config, tensors, { dtype: "fp32" });
  const { weights } = await prepareWeights({ tensors }, plan);
  const step = TrainStep.create({ ...common(config, weights, choose), ...options });
  fill(step, 3);
  return step;
}

function fill(step: TrainStep, seed: number): void {
  const random = sequence(seed);
  for (let i = 0; i < step.values.length; i++) step.values[i] = 0.2 * (random() - 0.5);
}

/** Rows of random tokens, the first `unlabelled` of each without a label, padded to `length`. */
function rowsOf(lengths: readonly number[], length: number, unlabelled = 3): TokenBatch & { segments: Int32Array } {
  const random = sequence(11);
  const rows = lengths.length;
  const [ids, labels, segments] = [
    new Int32Array(rows * length),
    new Int32Array(rows * length).fill(noLabel),
    new Int32Array(rows * length),
  ];
  lengths.forEach((real, row) => {
    for (let t = 0; t < real; t++) {
      const at = row * length + t;
      ids[at] = Math.floor(random() * 320);
      segments[at] = 1;
      if (t >= unlabelled) labels[at] = ids[at] as number;
    }
  });
  return { rows, length, ids, labels, segments };
}

const dot = (a: Float32Array, b: Float32Array): number => a.reduce((sum, x, i) => sum + x * (b[i] as number), 0);

function largestShare(found: Float32Array, expected: Float32Array): number {
  const largest = expected.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  return found.reduce((most, x, i) => Math.max(most, Math.abs(x - (expected[i] as number))), 0) / largest;
}

for (const family of readdirSync(root).sort()) {
  test(`${family}: the gradient along random directions is the loss's slope`, async () => {
    using step = await stepOf(family);
    const batch = rowsOf([20, 13], 20);
    const { loss } = await step.run(batch);
    assert.ok(Number.isFinite(loss));
    const start = step.values.slice();
    const random = sequence(5);
    for (let trial = 0; trial < 3; trial++) {
      // Mostly along the gradient, so that the slope stands above float32's rounding, with half as much of anything else.
      const norm = globalNorm(step.gradients);
      const noise = Float32Array.from(start, () => random() - 0.5);
      const factor = 0.5 / globalNorm(noise);
      const direction = noise.map((x, i) => x * factor + (step.gradients[i] as number) / norm);
      const at = async (distance: number): Promise<number> => {
        direction.forEach((d, i) => {
          step.values[i] = (start[i] as number) + distance * d;
        });
        return (await step.evaluate(batch)).loss;
      };
      const h = 0.05;
      const slope = (8 * ((await at(h)) - (await at(-h))) - ((await at(2 * h)) - (await at(-2 * h)))) / (12 * h);
      const expected = dot(step.gradients, direction);
      assert.ok(Math.abs(slope / expected - 1) < 2e-3, `trial ${trial}: slope ${slope}, gradient ${expected}`);
    }
  });
}

test("with B = 0 the loss is the base's, and evaluation without the adapter is the same", async () => {
  using step = await stepOf("llama");
  using bare = await stepOf("llama", {}, (path) => path.endsWith("layers.0.self_attn.q_proj"));
  const batch = rowsOf([20, 13], 20);
  const { loss: adapted } = await step.evaluate(batch);
  const { loss: base } = await step.evaluate(batch, { weights: "base" });
  assert.ok(Math.abs(adapted - base) > 1e-4, "the adapter does something");
  bare.values.fill(0);
  assert.ok(Math.abs((await bare.evaluate(batch)).loss - base) < 1e-6);
  for (const { name, data } of step.parameters) if (name.endsWith("lora_B")) data.fill(0);
  assert.ok(Math.abs((await step.run(batch)).loss - base) < 1e-6);
  assert.ok(
    Math.abs((await step.evaluate(batch, { weights: "trained" })).loss - base) < 1e-6,
    "the adapter is bound again",
  );
});

test("the backward pass stops at the lowest adapted layer", async () => {
  const backwards = async (choose: Choose): Promise<number> => {
    using step = await stepOf("llama", {}, choose);
    return step.graphs.training.nodes.filter(({ name }) => name.startsWith("gradients.")).length;
  };
  const last = await backwards((path) => path === "model.layers.2.mlp.down_proj");
  const one = await backwards((path) => path.startsWith("model.layers.2."));
  const all = await backwards((path) => path.startsWith("model.layers."));
  assert.ok(last < 30, `${last} nodes for the last linear: its own products and the way to the loss`);
  assert.ok(one < 0.45 * all, `${one} nodes for the top layer, ${all} for all three`);
  // Below the top layer's input nothing works for gradients: what does stands in the scopes of what was walked.
  using step = await stepOf("llama", {}, (path) => path.startsWith("model.layers.2."));
  const walked = step.graphs.training.nodes.map(({ name }) => /^gradients\.(model\.layers\.\d)/.exec(name)?.[1]);
  assert.deepEqual([...new Set(walked.filter((layer) => layer !== undefined))], ["model.layers.2"]);
});

test("no activation below the lowest adapted layer is kept", async () => {
  const bytesOf = async (choose: Choose): Promise<Map<string, number>> => {
    using step = await stepOf("llama", {}, choose);
    return keptBytes(step.graphs.training, { rows: 2, length: 20, labelled: 30, "labelled.0": 15, "labelled.1": 15 });
  };
  const whole = await bytesOf((path) => path.startsWith("model.layers."));
  const top = await bytesOf((path) => path.startsWith("model.layers.2."));
  const last = await bytesOf((path) => path === "model.layers.2.mlp.down_proj");
  const at = (kept: Map<string, number>, layer: number): number => kept.get(`model.layers.${layer}`) ?? 0;
  assert.ok(at(whole, 0) > 0 && at(whole, 1) > 0);
  assert.deepEqual([at(top, 0), at(last, 0)], [0, 0]);
  const hidden = 4 * 2 * 20 * 64; // one [tokens, hidden] of float32: what the top layer's norm reads
  assert.ok(at(top, 1) <= hidden, `${at(top, 1)} bytes of the layer below`);
  assert.ok(at(top, 2) <= at(whole, 2) && at(top, 2) > 0.9 * at(whole, 2), "and all that the top layer needs");
  assert.equal(at(last, 1), 0);
  assert.ok(at(last, 2) < 0.25 * at(top, 2), `${at(last, 2)} of ${at(top, 2)}`);
});

test("rows in one packed row see only themselves: loss and gradients equal those of separate rows", async () => {
  for (const family of ["llama", "gemma2", "mistral-sliding", "gpt2", "lfm2", "qwen3_5_text"]) {
    using step = await stepOf(family);
    const apart = rowsOf([20, 13, 7], 20);
    const { loss, tokenLosses } = await step.run(apart);
    const gradients = step.gradients.slice();
    const real = [...apart.ids.keys()].filter((i) => apart.segments[i] !== 0);
    const take = (data: Int32Array): Int32Array => Int32Array.from(real, (i) => data[i] as number);
    const segments = Int32Array.from(real, (i) => 1 + Math.floor(i / 20));
    const packed = { rows: 1, length: 40, ids: take(apart.ids), labels: take(apart.labels), segments };
    const together = await step.run(packed);
    assert.ok(Math.abs(together.loss - loss) < 1e-5, `${family}: ${together.loss}, apart ${loss}`);
    assert.equal(together.tokenLosses.length, tokenLosses.length);
    assert.ok(largestShare(together.tokenLosses, tokenLosses) < 1e-5);
    assert.ok(largestShare(step.gradients, gradients) < 1e-5, `${family}: ${largestShare(step.gradients, gradients)}`);
  }
});

test("the split into query blocks changes nothing, with empty blocks too: packed rows, one block against eight", async () => {
  for (const family of ["llama", "gemma2", "mistral-sliding"]) {
    using step = await stepOf(family, { maxLength: 1024 }); // eight blocks
    const apart = rowsOf([190, 150], 190); // two blocks of each
    const { loss } = await step.run(apart);
    const gradients = step.gradients.slice();
    const real = [...apart.ids.keys()].filter((i) => apart.segments[i] !== 0);
    const take = (data: Int32Array): Int32Array => Int32Array.from(real, (i) => data[i] as number);
    const segments = Int32Array.from(real, (i) => 1 + Math.floor(i / 190));
    const together = await step.run({
      rows: 1,
      length: 340,
      ids: take(apart.ids),
      labels: take(apart.labels),
      segments,
    });
    assert.ok(Math.abs(together.loss - loss) < 1e-5, `${family}: ${together.loss}, apart ${loss}`);
    assert.ok(largestShare(step.gradients, gradients) < 1e-5, `${family}: ${largestShare(step.gradients, gradients)}`);
    using single = await stepOf(family, { maxLength: 128 });
    for (const length of [2, 5, 128]) {
      const short = rowsOf([length, 2], length, 1);
      const { loss: expected } = await single.run(short);
      assert.ok(Math.abs((await step.run(short)).loss - expected) < 1e-6, `${family}: ${length} tokens`);
      assert.ok(largestShare(step.gradients, single.gradients) < 1e-5, `${family}: ${length} tokens`);
    }
  }
});

test("blocks are of nearly equal size, and none is shorter than necessary", () => {
  assert.deepEqual([...blockSizes(256, attentionBlocks(256))], [128, 128]);
  assert.deepEqual([...blockSizes(300, 8)], [0, 0, 0, 0, 0, 100, 100, 100]);
  assert.deepEqual([...blockSizes(1, 8)], [0, 0, 0, 0, 0, 0, 0, 1]);
  assert.deepEqual([...blockSizes(4099, attentionBlocks(8192))], [512, 512, 512, 512, 512, 513, 513, 513]);
});

test("eight steps of one row add up to one step of eight, with unequal numbers of labels", async () => {
  using step = await stepOf("llama");
  const lengths = [20, 5, 18, 4, 9, 16, 12, 20];
  const whole = rowsOf(lengths, 20);
  const { loss, labelled } = await step.run(whole);
  const expected = step.gradients.slice();
  const sum = new Float32Array(expected.length);
  let total = 0;
  for (let row = 0; row < 8; row++) {
    const cut = (data: Int32Array): Int32Array => data.slice(row * 20, row * 20 + (lengths[row] as number));
    const single = { rows: 1, length: lengths[row] as number, ids: cut(whole.ids), labels: cut(whole.labels) };
    total += (await step.run(single, { labelWeight: 1 / labelled.places.length })).loss;
    step.gradients.forEach((g, i) => {
      sum[i] = (sum[i] as number) + g;
    });
  }
  assert.ok(Math.abs(total - loss) < 1e-5);
  assert.ok(largestShare(sum, expected) < 1e-5, `${largestShare(sum, expected)}`);
});

test("the number of chunks changes nothing, even with fewer labels than chunks", async () => {
  const batch = rowsOf([6], 6, 3);
  const results: Float32Array[] = [];
  for (const chunks of [1, 2, 5]) {
    using step = await stepOf("gemma2", { chunks });
    await step.run(batch);
    results.push(step.gradients.slice());
  }
  for (const other of results.slice(1)) assert.ok(largestShare(other, results[0] as Float32Array) < 1e-5);
});

test("the same step gives the same bytes, at one thread and at two", async () => {
  // Of a width of 64: with fewer rows than that a product's columns are divided, and the sums of the head's 320 terms differ.
  const batch = rowsOf([60, 60, 60], 60);
  const run = async (threads: number): Promise<Float32Array> => {
    using step = await stepOf("llama", { threads });
    await step.run(rowsOf([9], 9));
    await step.run(batch);
    return step.gradients.slice();
  };
  const first = await run(1);
  assert.deepEqual(await run(1), first);
  assert.deepEqual(await run(2), first);
});

for (const [family, choose] of [
  ["llama", (path: string) => path === "lm_head"],
  ["smollm3", (path: string) => path === "lm_head"],
  ["gemma2", (path: string) => /lm_head|layers.0.*q_proj/.test(path)],
] as const) {
  test(`${family}: an adapted head, tied or not, is trained, and its gradient is the slope`, async () => {
    using step = await stepOf(family, {}, choose);
    const batch = rowsOf([20, 13], 20);
    await step.run(batch);
    const names = step.parameters.map(({ name }) => name);
    assert.deepEqual(names.slice(-2), ["lm_head.lora_A", "lm_head.lora_B"]);
    assert.ok(step.parameters.every(({ gradient }) => globalNorm(gradient) > 0));
    const gradients = step.gradients.slice();
    const norm = globalNorm(gradients);
    const start = step.values.slice();
    const at = async (distance: number): Promise<number> => {
      gradients.forEach((g, i) => {
        step.values[i] = (start[i] as number) + (distance * g) / norm;
      });
      return (await step.evaluate(batch)).loss;
    };
    const slope = ((await at(0.05)) - (await at(-0.05))) / 0.1;
    assert.ok(Math.abs(slope / norm - 1) < 2e-3, `slope ${slope}, gradient ${norm}`);
  });
}

test("dropout masks are inputs: a mask that keeps all scales the product, and evaluation uses none", async () => {
  const { config } = await openCheckpoint(join(root, "llama"));
  using step = await stepOf("llama", { dropout: 0.5 });
  using plain = await stepOf("llama");
  const batch = rowsOf([20, 13], 20);
  const count = batch.labels.filter((label) => label !== noLabel).length;
  const masks = (keep: (i: number) => boolean): Map<string, Tensor> =>
    new Map(
      targetModules(config).map(({ path, inFeatures }) => {
        const rows = path === "lm_head" ? count : 40;
        const data = Uint8Array.from({ length: rows * inFeatures }, (_, i) => (keep(i) ? 1 : 0));
        return [moduleInputs(path).mask, Tensor.from("bool", [rows, inFeatures], data)] as const;
      }),
    );
  const { loss: base } = await plain.evaluate(batch, { weights: "base" });
  const none = await step.run(batch, { inputs: masks(() => false) });
  assert.ok(Math.abs(none.loss - base) < 1e-6, "all dropped: the base");
  const all = await step.run(batch, { inputs: masks(() => true) });
  for (const { name, data } of plain.parameters) if (name.endsWith("lora_B")) data.set(data.map((x) => 2 * x));
  assert.ok(Math.abs(all.loss - (await plain.run(batch)).loss) < 1e-5, "all kept: B counts 1/(1-p) times");
  const half = await step.run(batch, { inputs: masks((i) => i % 3 === 0) });
  assert.ok(half.loss !== all.loss && half.loss !== none.loss);
  fill(plain, 3);
  assert.ok(Math.abs((await step.evaluate(batch)).loss - (await plain.evaluate(batch)).loss) < 1e-6);
});

test("an evaluation that counts hits finds the one token of a vocabulary that is likeliest, trained head or not", async () => {
  const vocabulary = 320;
  for (const choose of [(path: string) => !/head/.test(path), (path: string) => /head/.test(path)]) {
    using step = await stepOf("qwen3", { countsHits: true }, choose);
    const ids = Int32Array.from({ length: 3 * vocabulary }, (_, at) => [7, 9, Math.floor(at / 3)][at % 3] as number);
    const labels = ids.map((id, at) => (at % 3 === 2 ? id : noLabel));
    const { tokenHits, tokenLosses } = await step.evaluate({ rows: vocabulary, length: 3, ids, labels });
    const likeliest = tokenLosses.indexOf(Math.min(...tokenLosses));
    assert.deepEqual(
      [...(tokenHits ?? [])].flatMap((hit, token) => (hit === 1 ? [token] : [])),
      [likeliest],
    );
    assert.equal((await step.run({ rows: vocabulary, length: 3, ids, labels })).tokenHits, null);
  }
});
