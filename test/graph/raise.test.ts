/** Files of older opsets: ONNX Runtime, which still runs them as they are, must give the same for what was read and raised. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { LorikeetError } from "../../src/base/errors.js";
import { readOnnx } from "../../src/graph/read.js";
import { Session } from "../../src/runtime/session.js";
import { Tensor } from "../../src/runtime/tensor.js";
import { type FileSpec, floatTensor, intTensor, type NodeSpec, onnxFile } from "../support/onnx-file.js";
import { runGraph } from "../support/task-models.js";

const noFiles = (): never => assert.fail("no external data is expected");
const read = (spec: FileSpec) => readOnnx(onnxFile(spec), "old.onnx", noFiles);

/** One input x, one output y. */
interface Case extends Omit<NodeSpec, "inputs" | "outputs"> {
  readonly opset: number;
  readonly x: readonly number[];
  readonly y: readonly (number | string)[];
  readonly inputs?: readonly string[];
  readonly outputs?: readonly string[];
  readonly initializers?: FileSpec["initializers"];
}

const cases: readonly Case[] = [
  ...["ReduceL1", "ReduceL2", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd"].map((op) => ({
    ...{ op, opset: 13, x: [2, 3, 4], y: [2, 4], attributes: { axes: [1], keepdims: 0 } },
  })),
  { op: "ReduceMean", opset: 11, x: [2, 3], y: [1, 1] },
  { op: "ReduceSum", opset: 11, x: [2, 3, 4], y: [2, 3, 1], attributes: { axes: [-1] } },
  { op: "Squeeze", opset: 11, x: [2, 1, 3], y: [2, 3], attributes: { axes: [1] } },
  { op: "Squeeze", opset: 9, x: [2, 1, 3], y: [2, 3] },
  { op: "Unsqueeze", opset: 9, x: [2, 3], y: [2, 1, 3], attributes: { axes: [1] } },
  ...["Softmax", "LogSoftmax", "Hardmax"].flatMap((op) => [
    { op, opset: 9, x: [2, 3, 4], y: [2, 3, 4] },
    { op, opset: 12, x: [2, 3, 4], y: [2, 3, 4], attributes: { axis: 2 } },
    { op, opset: 11, x: [2, 3, 4], y: [2, 3, 4], attributes: { axis: -2 } },
  ]),
  { op: "Dropout", opset: 9, x: [2, 3], y: [2, 3], attributes: { ratio: { float: 0.5 } } },
  { op: "Split", opset: 11, x: [4, 2], y: [3, 2], outputs: ["y", "z"], attributes: { split: [3, 1], axis: 0 } },
  { op: "Split", opset: 11, x: [4, 2], y: [2, 2], outputs: ["y", "z"] },
  { op: "Split", opset: 13, x: [4, 2], y: [2, 2], outputs: ["y", "z"] },
  { op: "Slice", opset: 9, x: [4, 5], y: [2, 5], attributes: { starts: [1], ends: [3] } },
  { op: "Slice", opset: 9, x: [4, 5], y: [4, 4], attributes: { axes: [1], starts: [1], ends: [2 ** 53] } },
  { op: "Pad", opset: 9, x: [2, 3], y: [2, 6], attributes: { pads: [0, 1, 0, 2], value: { float: 0.5 } } },
  { op: "Pad", opset: 9, x: [2, 3], y: [2, 5], attributes: { pads: [0, 1, 0, 1], mode: "reflect" } },
  { op: "Clip", opset: 9, x: [2, 3], y: [2, 3], attributes: { min: { float: -0.5 }, max: { float: 0.25 } } },
  { op: "Clip", opset: 9, x: [2, 3], y: [2, 3], attributes: { max: { float: 0.25 } } },
  { op: "TopK", opset: 9, x: [2, 5], y: [2, 3], outputs: ["y", "indices"], attributes: { k: 3 } },
  ...["nearest", "linear"].flatMap((mode) => [
    ...["Upsample", "Resize"].map((op) => ({
      ...{ op, opset: op === "Upsample" ? 9 : 10, x: [1, 2, 3, 3], y: [1, 2, 6, 6], attributes: { mode } },
      ...{ inputs: ["x", "scales"], initializers: [floatTensor("scales", [4], [1, 1, 2, 2])] },
    })),
  ]),
  ...[
    [0.6, 0.6],
    [2, 0.6],
    [0.4, 1.5],
  ].map((scales) => ({
    ...{ op: "Resize", opset: 10, x: [1, 2, 7, 7], y: [1, 2, ...scales.map((scale) => Math.floor(7 * scale))] },
    ...{ inputs: ["x", "scales"], initializers: [floatTensor("scales", [4], [1, 1, ...scales])] },
  })),
  {
    ...{ op: "BatchNormalization", opset: 9, x: [2, 3, 4], y: [2, 3, 4], inputs: ["x", "g", "b", "m", "v"] },
    initializers: ["g", "b", "m", "v"].map((name, i) => floatTensor(name, [3], [0.5 + i, 1, 2])),
  },
  {
    ...{ op: "Scatter", opset: 9, x: [3, 2], y: [3, 2], inputs: ["x", "at", "with"] },
    initializers: [intTensor("at", [1, 2], [2, 0]), floatTensor("with", [1, 2], [7, 8])],
  },
  {
    ...{ op: "GridSample", opset: 16, x: [1, 1, 3, 3], y: [1, 1, 1, 2], inputs: ["x", "grid"] },
    ...{ initializers: [floatTensor("grid", [1, 1, 2, 2], [0.1, 0.2, -0.4, 0.9])], attributes: { mode: "bicubic" } },
  },
];

for (const [index, { opset, x, y, inputs = ["x"], outputs = ["y"], initializers = [], ...node }] of cases.entries()) {
  const told = JSON.stringify(node.attributes ?? {});
  test(`${node.op} of opset ${opset} with ${told} keeps its result (case ${index})`, async () => {
    const spec: FileSpec = {
      ...{ opset, inputs: { x }, outputs: { y }, initializers, nodes: [{ ...node, inputs, outputs }] },
    };
    const count = x.reduce((product, size) => product * size, 1);
    const data = Float32Array.from({ length: count }, (_, i) => Math.sin(1 + 3 * i));
    const given = new Map([["x", Tensor.from("float32", x, data)]]);
    const { opset: written, graph } = read(spec);
    assert.equal(written, opset);
    const [raised, original] = [await runGraph(graph, given), await runFile(onnxFile(spec), given)];
    assert.deepEqual([raised.get("y")?.shape, raised.get("y")?.data], [original.shape, original.data]);
  });
}

test("a Resize of opset 10 keeps its pixels for sizes that are computed", async () => {
  const spec: FileSpec = {
    ...{ opset: 10, inputs: { x: [1, 2, 7, 7] }, outputs: { y: [1, 2, 14, 4] } },
    initializers: [floatTensor("part", [4], [1, 1, 1, 0.3])],
    nodes: [
      { op: "Add", inputs: ["part", "more"], outputs: ["scales"] },
      { op: "Resize", inputs: ["x", "scales"], outputs: ["y"] },
    ],
  };
  const added = { ...spec, initializers: [...(spec.initializers ?? []), floatTensor("more", [4], [0, 0, 1, 0.3])] };
  const data = Float32Array.from({ length: 98 }, (_, i) => Math.sin(1 + 3 * i));
  const given = new Map([["x", Tensor.from("float32", [1, 2, 7, 7], data)]]);
  const raised = await runGraph(read(added).graph, given);
  assert.deepEqual(raised.get("y")?.data, (await runFile(onnxFile(added), given)).data);
});

/** What ONNX Runtime gives for the file as it is. */
async function runFile(bytes: Uint8Array, inputs: ReadonlyMap<string, Tensor>): Promise<Tensor> {
  using session = await Session.create(bytes, { threads: 1 });
  const binding = session.bind();
  for (const [name, tensor] of inputs) binding.input(name, tensor);
  binding.outputToHost("y");
  await session.run(binding);
  return binding.outputs()[0] as Tensor;
}

const refusals: readonly (readonly [
  what: string,
  spec: Partial<FileSpec> & { readonly node: Partial<NodeSpec> },
  message: RegExp,
])[] = [
  ["an opset before 9", { opset: 8, node: { op: "Relu" } }, /has opset 8; 9 to 25 are allowed/],
  ["an opset that is not known yet", { opset: 99, node: { op: "Relu" } }, /has opset 99; 9 to 25 are allowed/],
  [
    "an operator of a later opset",
    { opset: 23, node: { op: "Attention" } },
    /"Attention" of opset 23; operators of opset 21/,
  ],
  [
    "a dropout whose mask is read",
    { opset: 13, node: { op: "Dropout", outputs: ["y", "mask"] } },
    /"Dropout" of opset 13 with its mask/,
  ],
  [
    "a batch normalization that trains",
    { opset: 14, node: { op: "BatchNormalization", attributes: { training_mode: 1 } } },
    /"BatchNormalization" of opset 14 in training mode/,
  ],
  [
    "a group normalization by groups",
    { opset: 18, node: { op: "GroupNormalization" } },
    /"GroupNormalization" of opset 18 whose/,
  ],
  [
    "a rounding that left",
    { opset: 11, node: { op: "Resize", attributes: { coordinate_transformation_mode: "tf_half_pixel_for_nn" } } },
    /"Resize" of opset 11 with tf_half_pixel_for_nn/,
  ],
];

for (const [what, { node, ...spec }, message] of refusals) {
  test(`${what} is refused by name`, () => {
    const nodes = [{ op: "Relu", name: "it", inputs: ["x"], outputs: ["y"], ...node }];
    const bytes = onnxFile({ inputs: { x: [2] }, outputs: { y: [2] }, ...spec, nodes });
    assert.throws(
      () => readOnnx(bytes, "old.onnx", noFiles),
      (error) => error instanceof LorikeetError && error.code === "model_unsupported" && message.test(error.message),
    );
  });
}
