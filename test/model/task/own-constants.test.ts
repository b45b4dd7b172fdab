/** Modules that share a constant because an exporter stored equal ones once get their own, where every weight is trained. */

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { openTaskModel } from "../../../src/model/task/open.js";
import { trainedWeights } from "../../../src/train/tasks/trained-weights.js";
import { floatTensor, type NodeSpec, onnxFile } from "../../support/onnx-file.js";

const folder = mkdtempSync(join(tmpdir(), "lorikeet-own-constants-"));
after(() => rmSync(folder, { recursive: true }));
const path = join(folder, "model.onnx");

const norm = (
  name: string,
  [x, y]: readonly [string, string],
  bias = "norm.bias",
  weight = "norm.weight",
): NodeSpec => {
  return { op: "LayerNormalization", scopes: [name], inputs: [x, weight, bias], outputs: [y] };
};

/** What training gives values, and what each normalization reads. */
async function readIn(nodes: readonly NodeSpec[], bias: readonly number[] = [0, 0]) {
  const initializers = [floatTensor("norm.weight", [2], [1, 1]), floatTensor("norm.bias", [2], bias)];
  const shapes = { inputs: { x: ["rows", 2] }, outputs: { y: ["rows", 2] } };
  writeFileSync(path, onnxFile({ ...shapes, initializers, nodes, opset: 17 }));
  const { opened, modules } = await openTaskModel(path, { ownConstants: true });
  const graph = opened[0]?.graphs[0]?.graph ?? assert.fail();
  const norms = graph.nodes.filter(({ op }) => op === "LayerNormalization");
  return {
    trained: trainedWeights(graph, modules, ["y"]).map(({ value }) => value.name),
    read: norms.map(({ inputs }) => inputs.slice(1).map((value) => value?.name)),
  };
}

test("normalizations that an exporter gave one constant are trained apart, under the names of their modules", async () => {
  const { trained, read } = await readIn([norm("norm", ["x", "h"]), norm("last", ["h", "y"])]);
  assert.deepEqual(read, [
    ["norm.weight", "norm.bias"],
    ["last.weight", "last.bias"],
  ]);
  assert.deepEqual(trained, ["norm.weight", "norm.bias", "last.weight", "last.bias"]);
});

test("the parameter of an Identity is its own", async () => {
  const alias: NodeSpec = { op: "Identity", inputs: ["norm.bias"], outputs: ["encoder.last.bias"] };
  const last = norm("encoder.last", ["h", "y"], "encoder.last.bias");
  const { trained, read } = await readIn([alias, norm("norm", ["x", "h"]), last]);
  assert.deepEqual(read[1], ["encoder.last.weight", "encoder.last.bias"]);
  assert.deepEqual(trained, ["norm.weight", "norm.bias", "encoder.last.bias", "encoder.last.weight"]);
});

test("constants of different numbers, two calls of a module and nodes without a module keep what they share", async () => {
  const two = [norm("norm", ["x", "h"]), norm("last", ["h", "y"])];
  assert.deepEqual((await readIn(two, [0, 1])).read[1], ["last.weight", "norm.bias"]);
  const again = await readIn([norm("norm", ["x", "h"]), norm("norm", ["h", "y"])]);
  assert.deepEqual(again.trained, ["norm.weight", "norm.bias"]);
  const nameless = await readIn(two.map((node) => ({ ...node, scopes: [] })));
  assert.deepEqual(nameless.trained, ["norm.weight", "norm.bias"]);
});
