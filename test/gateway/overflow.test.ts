/** Outputs that are no numbers: no label, vector or box is made of them. */

import assert from "node:assert/strict";
import { test } from "node:test";
import type { TaskTensor } from "../../src/engine/task/types.js";
import { detections, usualDetector } from "../../src/gateway/tasks/detections.js";
import { labelScores } from "../../src/gateway/tasks/label-scores.js";
import { sparseVector } from "../../src/gateway/tasks/sparse.js";
import { checkedVector, NotNumbers } from "../../src/gateway/tasks/values.js";

const tensor = (shape: readonly number[], ...data: number[]): TaskTensor => {
  return { type: "float32", shape, data: Float32Array.from(data) };
};

test("NaN and Infinity are errors, and a logit of -Infinity rules its label out", () => {
  for (const bad of [Number.NaN, Number.POSITIVE_INFINITY]) {
    const logits = tensor([1, 1, 2], 1, bad);
    const size = { width: 4, height: 4 };
    const outputs = new Map([
      ["logits", logits],
      ["pred_boxes", tensor([1, 1, 4], 0, 0, 1, 1)],
    ]);
    const sigmoid = { kind: "sigmoid", top: null } as const;
    assert.throws(() => labelScores(tensor([1, 2], bad, 1), "softmax"), NotNumbers);
    assert.throws(() => sparseVector(logits, undefined), NotNumbers);
    assert.throws(() => detections(outputs, { ...usualDetector, ...size }), NotNumbers);
    assert.throws(() => detections(outputs, { ...usualDetector, ...size, scores: sigmoid }), NotNumbers);
    assert.throws(() => checkedVector([0, bad]), /The model computed (NaN|Infinity) in place of a vector's values\./);
  }
  const [first, second] = labelScores(tensor([1, 2], 3, Number.NEGATIVE_INFINITY), "softmax");
  assert.deepEqual([first?.score, second?.score], [1, 0]);
});
