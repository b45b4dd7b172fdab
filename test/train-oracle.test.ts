/** Ten steps of AdamW as PyTorch and PEFT take them: losses, norms, first gradients and where the adapter ends. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import {
  addDecayedWeights,
  chain,
  clipByGlobalNorm,
  globalNorm,
  scaleByAdam,
  scaleByRate,
} from "../src/train/optimizer.js";
import { constant } from "../src/train/schedule.js";
import { adapterStep, fromPeft, isThere, readRun, readTensors, relativeDifference } from "./support/train-oracle.js";

const families = ["llama", "qwen2", "qwen3", "gemma2", "phi3", "gpt2"];

test("the repository's oracle holds a training run", () => assert.ok(isThere("llama", "train")));

for (const [family, run] of [
  ...families.map((family) => [family, "train"] as const),
  ["llama", "train-dora"] as const,
]) {
  test(`${family} ${run}`, { skip: !isThere(family, run) }, async (t) => {
    const oracle = await readRun(family, run);
    using step = await adapterStep(oracle);
    const start = step.values.slice();
    const optimizer = chain(
      step.values.length,
      clipByGlobalNorm(1),
      scaleByAdam(),
      addDecayedWeights(0.01),
      scaleByRate(constant(0.01)),
    );
    const first = await readTensors(join(oracle.folder, "first-gradients.safetensors"));
    for (const [i, batch] of oracle.batches.entries()) {
      const { loss } = await step.run(batch);
      const norm = globalNorm(step.gradients);
      if (i === 0) {
        assert.equal(step.parameters.length, first.size, "every tensor is trained");
        for (const { name, gradient } of step.parameters) {
          const error = relativeDifference(gradient, fromPeft(first, name));
          assert.ok(error <= 5e-5, `first gradient of ${name}: ${error}`);
        }
        const { loss: evaluated } = await step.evaluate(batch);
        assert.ok(Math.abs(evaluated - loss) <= 1e-5, `evaluated ${evaluated}, trained ${loss}`);
      }
      const [expectedLoss = Number.NaN, expectedNorm = Number.NaN] = [oracle.losses[i], oracle.norms[i]];
      assert.ok(Math.abs(loss - expectedLoss) <= 2e-5, `loss ${i}: ${loss}, expected ${expectedLoss}`);
      assert.ok(Math.abs(norm / expectedNorm - 1) <= 1e-4, `norm ${i}: ${norm}, expected ${expectedNorm}`);
      optimizer.step(step.values, step.gradients, i);
    }
    const after = await readTensors(join(oracle.folder, "after-10-steps.safetensors"));
    let [distance, length] = [0, 0];
    for (const { name, data, offset } of step.parameters) {
      const expected = fromPeft(after, name);
      expected.forEach((value, i) => {
        distance += ((data[i] as number) - value) ** 2;
        length += (value - (start[offset + i] as number)) ** 2;
      });
    }
    const share = Math.sqrt(distance / length);
    t.diagnostic(`distance ${share.toExponential(1)} of the update`);
    assert.ok(share <= 2e-4, `after ten steps ${share} of the update away`);
  });
}
