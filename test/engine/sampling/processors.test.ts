/** The logits processors against plain definitions, and that a sequence copies a row only while one of them changes it. */

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { AllowedTokens } from "../../../src/engine/sampling/processors/allowed-tokens.js";
import { createSamplerState } from "../../../src/engine/sampling/state.js";
import { greedy } from "../../../src/engine/types.js";

test("allowed tokens keep their logits and all others go to -Infinity, whatever the words of the mask hold", () => {
  const vocab = 131;
  const ids = fc.uniqueArray(fc.integer({ min: 0, max: vocab - 1 }));
  const block = fc.integer({ min: 0, max: 3 }).map((word) => Array.from({ length: 32 }, (_, bit) => 32 * word + bit));
  fc.assert(
    fc.property(fc.oneof(ids, block, fc.constant<number[]>([]), fc.constant([vocab - 1])), (allowed) => {
      const row = Float32Array.from({ length: vocab }, (_, id) => id - 60);
      new AllowedTokens(allowed).apply(row);
      const expected = Array.from({ length: vocab }, (_, id) => (allowed.includes(id) ? id - 60 : -Infinity));
      assert.deepEqual([...row], expected);
    }),
  );
});

test("a row is copied only while a processor changes it", () => {
  const logits = Float32Array.from([1, 2, 3]);
  const scratch = new Float32Array(3);
  const plain = createSamplerState(greedy, [0, 1]);
  assert.equal(plain.adjust(logits, scratch), logits);
  const waiting = createSamplerState({ ...greedy, minTokens: 1, heldIds: [2] }, []);
  assert.deepEqual([...waiting.adjust(logits, scratch)], [1, 2, -Infinity]);
  waiting.accept(1);
  assert.equal(waiting.adjust(logits, scratch), logits, "the least number of tokens is there");
  const penalized = createSamplerState({ ...greedy, presencePenalty: 0.5 }, [0]);
  assert.equal(penalized.adjust(logits, scratch), logits, "nothing was generated yet");
  penalized.accept(1);
  assert.deepEqual([...penalized.adjust(logits, scratch)], [1, 1.5, 3]);
  assert.deepEqual([...logits], [1, 2, 3], "the row itself stays as it is");
});
