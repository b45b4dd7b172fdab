/** Ten steps of AdamW as PyTorch and PEFT take them: losses, norms, first gradients and the final adapter. */
import assert from "node:assert/strict";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { noLabel } from "../../src/train/data/batch.js";
import { preferences } from "../../src/train/objectives.js";
import {
  addDecayedWeights,
  chain,
  clipByGlobalNorm,
  globalNorm,
  type Optimizer,
  scaleByAdam,
  scaleByRate,
} from "../../src/train/optimizer/optimizer.js";
import { constant } from "../../src/train/optimizer/schedule.js";
import { scoresName } from "../../src/train/score/goal.js";
import { scoreTrainable } from "../../src/train/score/trainable.js";
import type { TrainStep } from "../../src/train/step.js";
import { classification } from "../../src/train/tasks/objectives/classification.js";
import {
  adapterStep,
  fromPeft,
  fullStep,
  isThere,
  type OracleRun,
  oracleRoot,
  readNumbers,
  readRun,
  readTensors,
  relativeDifference,
  type Tensors,
} from "../support/train-oracle.js";

const families = readdirSync(oracleRoot).sort();

/** As the oracle's runs were made. */
const adamW = (count: number): Optimizer =>
  chain(count, clipByGlobalNorm(1), scaleByAdam(), addDecayedWeights(0.01), scaleByRate(constant(0.01)));

/** Of the larger files the repository holds some families' only: the others' losses and norms follow from every gradient. */
const readOptional = async (file: string): Promise<Tensors | null> => (existsSync(file) ? readTensors(file) : null);

/** The distance from where the oracle's run ended, as a share of how far it went. */
async function compareEnd({ folder }: OracleRun, step: TrainStep, start: Float32Array, most = 2e-4): Promise<void> {
  const after = await readOptional(join(folder, "after-10-steps.safetensors"));
  if (!after) return;
  let [distance, length] = [0, 0];
  for (const { name, data, offset } of step.parameters) {
    fromPeft(after, name).forEach((value, i) => {
      distance += ((data[i] as number) - value) ** 2;
      length += (value - (start[offset + i] as number)) ** 2;
    });
  }
  const share = Math.sqrt(distance / length);
  assert.ok(share <= most, `after ten steps ${share} of the update away`);
}

test("the repository contains the required runs", () => {
  for (const family of ["llama", "gemma2", "gpt2", "granite", "olmo2", "olmo3"])
    assert.ok(isThere(family, "train"), family);
  for (const family of ["llama", "qwen2", "gpt2", "granite", "olmo2", "olmo3"])
    assert.ok(isThere(family, "train-full"), family);
  assert.ok(isThere("llama", "train-dora") && isThere("llama", "train-dpo"));
  assert.ok(isThere("llama", "train-dpo-continued") && isThere("llama", "train-dpo-continued-dora"));
});

for (const [family, run] of [
  ...families.map((family) => [family, "train"] as const),
  ["llama", "train-dora"] as const,
]) {
  test(`${family} ${run}`, { skip: !isThere(family, run) }, async () => {
    const oracle = await readRun(family, run);
    using step = await adapterStep(oracle);
    const start = step.values.slice();
    const optimizer = adamW(step.values.length);
    const first = await readOptional(join(oracle.folder, "first-gradients.safetensors"));
    for (const [i, batch] of oracle.batches.entries()) {
      const { loss } = await step.run(batch);
      const norm = globalNorm(step.gradients);
      if (i === 0 && first) {
        assert.equal(step.parameters.length, first.size, "every tensor is trained");
        for (const { name, gradient } of step.parameters) {
          const error = relativeDifference(gradient, fromPeft(first, name));
          assert.ok(error <= 5e-5, `first gradient of ${name}: ${error}`);
        }
      }
      if (i === 0) {
        const { loss: evaluated } = await step.evaluate(batch);
        assert.ok(Math.abs(evaluated - loss) <= 1e-5, `evaluated ${evaluated}, trained ${loss}`);
      }
      const [expectedLoss = Number.NaN, expectedNorm = Number.NaN] = [oracle.losses[i], oracle.norms[i]];
      assert.ok(Math.abs(loss - expectedLoss) <= 2e-5, `loss ${i}: ${loss}, expected ${expectedLoss}`);
      assert.ok(Math.abs(norm / expectedNorm - 1) <= 1e-4, `norm ${i}: ${norm}, expected ${expectedNorm}`);
      optimizer.step(step.values, step.gradients, i);
    }
    await compareEnd(oracle, step, start);
  });
}

for (const family of families) {
  test(`${family} train-full`, { skip: !isThere(family, "train-full") }, async () => {
    const oracle = await readRun(family, "train-full");
    using step = await fullStep(oracle);
    assert.equal(step.values.length, oracle.checkpoint.parameterCount);
    const optimizer = adamW(step.values.length);
    const first = await readOptional(join(oracle.folder, "first-gradients.safetensors"));
    for (const [i, batch] of oracle.batches.entries()) {
      const { loss } = await step.run(batch);
      const norm = globalNorm(step.gradients);
      if (i === 0 && first) {
        for (const { name, gradient } of step.parameters) {
          const expected = first.get(name);
          assert.ok(expected, name);
          // A key's bias moves all scores of a row alike: its true gradient is zero, what is left is rounding.
          const error = relativeDifference(gradient, expected.data);
          const isNoise = globalNorm(expected.data) < 1e-5 * norm;
          assert.ok(
            isNoise ? globalNorm(gradient) < 1e-5 * norm : error <= 5e-5,
            `first gradient of ${name}: ${error}`,
          );
        }
      }
      const [expectedLoss = Number.NaN, expectedNorm = Number.NaN] = [oracle.losses[i], oracle.norms[i]];
      assert.ok(Math.abs(loss - expectedLoss) <= 1e-4, `loss ${i}: ${loss}, expected ${expectedLoss}`);
      // AdamW makes whole steps of that rounding, and its bits are the processor's: with biases of keys, norms drift apart.
      const bound = family === "qwen2" ? 1e-3 : 1e-4;
      assert.ok(Math.abs(norm / expectedNorm - 1) <= bound, `norm ${i}: ${norm}, expected ${expectedNorm}`);
      optimizer.step(step.values, step.gradients, i);
    }
  });
}

/** Measured against the base, and, of runs that go on from an adapter, against that. */
for (const run of ["train-dpo", "train-dpo-continued", "train-dpo-continued-dora"]) {
  test(`llama ${run}`, { skip: !isThere("llama", run) }, () => comparePreferences(run));
}

async function comparePreferences(run: string): Promise<void> {
  const beta = 0.1;
  const oracle = await readRun("llama", run);
  const numbers = await readNumbers(join(oracle.folder, "batches.safetensors"));
  const column = (name: string): number[] => numbers.get(name)?.data ?? [];
  const [steps = 0, pairs = 0, length = 0] = numbers.get("chosen_ids")?.shape ?? [];
  const [prompt = 0] = column("prompt_length");
  const objective = preferences(beta);
  const { signal } = new AbortController();
  using step = await adapterStep(oracle, { loss: objective.loss });
  if (run !== "train-dpo") await step.freezeReference();
  const start = step.values.slice();
  const optimizer = adamW(step.values.length);
  const first = await readOptional(join(oracle.folder, "first-gradients.safetensors"));
  for (let i = 0; i < steps; i++) {
    const row = (name: string, pair: number): number[] => {
      const begin = (i * pairs + pair) * length;
      return column(name).slice(begin, begin + length);
    };
    const pairRows = Array.from({ length: pairs }, (_, pair) => [row("chosen_ids", pair), row("rejected_ids", pair)]);
    const ids = Int32Array.from(pairRows.flat(2));
    const batch = { rows: 2 * pairs, length, ids, labels: ids.map((id, at) => (at % length < prompt ? noLabel : id)) };
    const mine = (name: string): number[] => column(name).slice(i * pairs, (i + 1) * pairs);
    const [chosen, rejected] = [mine("rewards_chosen"), mine("rewards_rejected")];
    const margin = chosen.reduce((sum, reward, pair) => sum + reward - (rejected[pair] ?? 0), 0) / pairs;
    const evaluated = await objective.evaluate(step, batch, pairs, signal);
    assert.ok(
      Math.abs((evaluated.margin ?? 0) - margin) <= 1e-4,
      `margin ${i}: ${evaluated.margin}, expected ${margin}`,
    );
    const feed = await objective.feed(step, batch, pairs, signal);
    const reference = feed.inputs?.get("reference_margins")?.data;
    const [likeliest, least] = [mine("reference_chosen"), mine("reference_rejected")];
    for (const [pair, expected] of likeliest.map((x, pair) => x - (least[pair] ?? 0)).entries()) {
      assert.ok(
        Math.abs(Number(reference?.[pair]) - expected) <= 1e-4,
        `reference ${i}: ${reference?.[pair]}, ${expected}`,
      );
    }
    const { loss } = await step.run(batch, feed);
    if (i === 0 && first) {
      for (const { name, gradient } of step.parameters) {
        const error = relativeDifference(gradient, fromPeft(first, name));
        assert.ok(error <= 5e-5, `first gradient of ${name}: ${error}`);
      }
    }
    const [expectedLoss = Number.NaN, expectedNorm = Number.NaN] = [oracle.losses[i], oracle.norms[i]];
    assert.ok(Math.abs(loss - expectedLoss) <= 2e-5, `loss ${i}: ${loss}, expected ${expectedLoss}`);
    assert.ok(
      Math.abs(evaluated.loss - expectedLoss) <= 2e-5,
      `evaluated ${i}: ${evaluated.loss}, expected ${expectedLoss}`,
    );
    const norm = globalNorm(step.gradients);
    assert.ok(Math.abs(norm / expectedNorm - 1) <= 1e-4, `norm ${i}: ${norm}, expected ${expectedNorm}`);
    optimizer.step(step.values, step.gradients, i);
  }
  await compareEnd(oracle, step, start);
}

test("llama train-score", { skip: !isThere("llama", "train-score") }, async () => {
  const oracle = await readRun("llama", "train-score");
  const numbers = await readNumbers(join(oracle.folder, "batches.safetensors"));
  const column = (name: string): number[] => numbers.get(name)?.data ?? [];
  const [steps = 0, rows = 0, length = 0] = numbers.get("input_ids")?.shape ?? [];
  const labels = ["0", "1", "2"];
  const batches = Array.from({ length: steps }, (_, i) =>
    column("lengths").map((size, row) => {
      const begin = (i * rows + row) * length;
      const ids = column("input_ids").slice(begin, begin + size);
      return {
        source: [{ ids }],
        target: String(column("labels")[i * rows + row]),
        size,
        place: { file: "", line: row },
      };
    }),
  );
  using step = await adapterStep(oracle, { score: { outFeatures: 3 }, chunks: 1, minLabels: 64 });
  const goal = { objective: classification(labels, scoresName), labels, names: labels, isFresh: true };
  const trainable = scoreTrainable({ step, inputs: undefined }, goal, { padId: 0, minTokens: 1 });
  assert.equal(step.parameters.filter(({ name }) => name === "score.weight").length, 1);
  const { signal } = new AbortController();
  const start = step.values.slice();
  const optimizer = adamW(step.values.length);
  for (const [i, batch] of batches.entries()) {
    const { loss: evaluated } = await trainable.evaluate([batch], { signal });
    const loss = await trainable.run(batch, { total: rows, step: i, run: 0, signal });
    const norm = globalNorm(step.gradients);
    const [expectedLoss = Number.NaN, expectedNorm = Number.NaN] = [oracle.losses[i], oracle.norms[i]];
    assert.ok(Math.abs(loss - expectedLoss) <= 2e-5, `loss ${i}: ${loss}, expected ${expectedLoss}`);
    assert.ok(Math.abs(evaluated - loss) <= 1e-5, `evaluated ${i}: ${evaluated}, trained ${loss}`);
    assert.ok(Math.abs(norm / expectedNorm - 1) <= 4e-5, `norm ${i}: ${norm}, expected ${expectedNorm}`);
    optimizer.step(step.values, step.gradients, i);
  }
  await compareEnd(oracle, step, start, 4e-5);
});

test("a preference starts at ln 2 with a margin of 0 when B is 0", {
  skip: !isThere("llama", "train-dpo"),
}, async () => {
  const objective = preferences(0.1);
  using step = await adapterStep(await readRun("llama", "train-dpo"), { loss: objective.loss });
  for (const { name, data } of step.parameters) if (name.endsWith("lora_B")) data.fill(0);
  const ids = Int32Array.from({ length: 48 }, (_, i) => (i * 53) % 320);
  const batch = { rows: 4, length: 12, ids, labels: ids.map((id, at) => (at % 12 < 5 ? noLabel : id)) };
  const { signal } = new AbortController();
  const { loss } = await step.run(batch, await objective.feed(step, batch, 2, signal));
  assert.ok(Math.abs(loss - Math.LN2) < 1e-5, `${loss}`);
  const evaluated = await objective.evaluate(step, batch, 2, signal);
  assert.ok(Math.abs(evaluated.loss - Math.LN2) < 1e-5 && Math.abs(evaluated.margin ?? 1) < 1e-5);
});
