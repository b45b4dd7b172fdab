/** Steps in which every row wants the likeliest token alone: the device's choice is taken, and no logits are read. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { SamplingParams } from "../../src/engine/types.js";
import { greedy } from "../../src/engine/types.js";
import { engineRig, expectedTokens, FakeRunner, read, sampled, vocabSize } from "../support/engine-rig.js";

/** A runner that finds the likeliest tokens itself, and counts the steps of each kind. */
function countingRunner() {
  const fake = new FakeRunner();
  const steps = { tokens: 0, logits: 0 };
  const decode: FakeRunner["decode"] = async (...step) => {
    steps.logits++;
    return await fake.decode(...step);
  };
  const decodeLikeliest = async (...step: Parameters<FakeRunner["decode"]>): Promise<number[]> => {
    steps.tokens++;
    const logits = await fake.decode(...step);
    return Array.from({ length: logits.length / vocabSize }, (_, row) =>
      logits.subarray(row * vocabSize, (row + 1) * vocabSize).indexOf(10),
    );
  };
  const runner = { prepare: () => fake.prepare(), prefill: fake.prefill.bind(fake), decode, decodeLikeliest };
  return { runner, steps };
}

const prompt = [3, 1, 4, 1, 5];

test("greedy rows take the tokens that the device found, and are the same as by logits", async () => {
  const { runner, steps } = countingRunner();
  await using rig = engineRig({ parts: { runner } });
  const outcomes = await Promise.all([0, 1].map((i) => read(rig.submit({ promptIds: [...prompt, i], maxTokens: 9 }))));
  for (const [i, { tokens }] of outcomes.entries()) assert.deepEqual(tokens, expectedTokens([...prompt, i], 9));
  assert.equal(steps.logits, 0);
  assert.ok(steps.tokens >= 8);
});

const readLogits: Record<string, SamplingParams> = {
  "draws its token": sampled(1),
  "asks for log-probabilities": { ...greedy, logprobs: 2 },
  "has a logits processor": { ...greedy, logitBias: new Map([[5, 1]]) },
};

for (const [why, sampling] of Object.entries(readLogits)) {
  test(`logits are read where a row ${why}`, async () => {
    const { runner, steps } = countingRunner();
    await using rig = engineRig({ parts: { runner } });
    const outcome = await read(rig.submit({ promptIds: prompt, maxTokens: 5, sampling }));
    assert.equal(outcome.finish.reason, "length");
    assert.deepEqual(steps, { tokens: 0, logits: 4 });
  });
}
