import assert from "node:assert/strict";
import { zip } from "../../src/base/list.js";

/** ‖found - expected‖ / ‖expected‖. Fails for different lengths. */
export function relativeDistance(found: Float32Array, expected: Float32Array): number {
  assert.equal(found.length, expected.length);
  let [error, norm] = [0, 0];
  for (const [one, other] of zip(found, expected)) {
    error += (other - one) ** 2;
    norm += other ** 2;
  }
  return Math.sqrt(error / norm);
}
