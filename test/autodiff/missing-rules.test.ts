/** What training lacks for a graph that was read from a file. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { missingRules } from "../../src/autodiff/missing-rules.js";
import { readOnnx } from "../../src/graph/read.js";
import { floatTensor, onnxFile } from "../support/onnx-file.js";

test("operators without a gradient count behind the named nodes only, and not where no gradient passes", () => {
  const nodes = [
    { op: "Shrink", name: "before", inputs: ["x"], outputs: ["m"] },
    { op: "MatMul", name: "linear", inputs: ["m", "w"], outputs: ["h"] },
    { op: "Celu", name: "after", inputs: ["h"], outputs: ["e"] },
    { op: "Relu", name: "known", inputs: ["e"], outputs: ["r"] },
    { op: "ArgMax", name: "best", inputs: ["r"], outputs: ["best"] },
    { op: "CumSum", name: "summed", inputs: ["best", "zero"], outputs: ["y"] },
    { op: "Selu", name: "other", inputs: ["x"], outputs: ["z"] },
  ];
  const initializers = [floatTensor("w", [2, 2], [1, 2, 3, 4]), floatTensor("zero", [], [0])];
  const file = onnxFile({ inputs: { x: [2, 2] }, outputs: { y: [2, 1], z: [2, 2], r: [2, 2] }, initializers, nodes });
  const { graph } = readOnnx(file, "test.onnx", () => assert.fail("no external data is expected"));
  assert.deepEqual(missingRules(graph, new Set(["linear"])), ["Celu"]);
  assert.deepEqual(missingRules(graph, new Set(["before"])), ["Celu", "Shrink"]);
  assert.deepEqual(missingRules(graph, new Set()), []);
});
