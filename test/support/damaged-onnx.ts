/** ONNX files with damage, from seeds: bytes, fields, and faults that nobody writes by accident. */

import { readFileSync } from "node:fs";
import fc from "fast-check";
import { decodeModel, encodeModel, type GraphProto } from "../../src/onnx/codec.js";
import { floatTensor, intTensor, onnxFile } from "./onnx-file.js";
import { taskRoot } from "./task-models.js";

const files = [
  "policy-mlp/onnx/model",
  "policy-mlp/onnx/model_dynamo",
  "resnet/onnx/model",
  "marian/onnx/decoder_model_merged",
];
const sources = files.map((name) => new Uint8Array(readFileSync(`${taskRoot}/${name}.onnx`)));

/** Bytes that are overwritten, cut out or repeated. */
export const damagedBytes = fc
  .tuple(
    fc.constantFrom(...sources),
    fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 12 }),
    fc.nat(),
    fc.nat(3),
  )
  .map(([source, edits, at, kind]) => {
    const bytes = Uint8Array.from(source);
    // Half of the damage goes to the first bytes of the file, where structure is denser than weights are.
    for (const [place, value] of edits)
      bytes[place % (place % 2 === 0 ? bytes.length : Math.min(4096, bytes.length))] = value;
    if (kind === 0) return bytes.slice(0, at % bytes.length);
    return kind === 1
      ? Uint8Array.from([...bytes.subarray(0, at % bytes.length), ...bytes.subarray((at % bytes.length) >> 1)])
      : bytes;
  });

const name = fc.constantFrom(
  "",
  "x",
  "observation",
  "net.0.weight",
  "net.0.bias",
  "linear",
  "relu",
  "q_values",
  "\0",
  "../a",
  "__proto__",
);
const size = fc.constantFrom(0n, 1n, -1n, 4n, 32n, 2n ** 31n, 2n ** 53n, 2n ** 63n - 1n);
const operator = fc.constantFrom(
  "Relu",
  "Gemm",
  "MatMul",
  "Conv",
  "If",
  "Loop",
  "Constant",
  "Dropout",
  "Split",
  "Clip",
  "Resize",
  "Softmax",
  "Nothing",
  "",
);

/** Fields of well-formed messages, with other values. */
export const damagedFields = fc
  .tuple(fc.nat(3), fc.array(fc.tuple(fc.nat(11), fc.nat(), name, size, operator), { minLength: 1, maxLength: 4 }))
  .map(([which, edits]) => {
    const model = decodeModel(sources[which] ?? new Uint8Array());
    for (const [kind, at, text, number, op] of edits) if (model.graph) damage(model.graph, kind, at, text, number, op);
    const [opset] = model.opsetImport;
    if (opset && edits.length % 2 === 0) opset.version = BigInt(9 + ((edits[0]?.[1] ?? 0) % 16));
    return encodeModel(model);
  });

function damage(graph: GraphProto, kind: number, at: number, text: string, number: bigint, op: string): void {
  const node = graph.node[at % Math.max(graph.node.length, 1)];
  const tensor = graph.initializer[at % Math.max(graph.initializer.length, 1)];
  const attribute = node?.attribute[at % Math.max(node.attribute.length, 1)];
  if (attribute?.g && at % 2 === 0) {
    damage(attribute.g, kind, at >> 1, text, number, op);
    return;
  }
  const info = [...graph.input, ...graph.output][at % Math.max(graph.input.length + graph.output.length, 1)];
  if (kind === 0 && node) node.input[at % 3] = text;
  if (kind === 1 && node) node.output[at % 2] = text;
  if (kind === 2 && node) node.opType = op;
  if (kind === 3 && node) node.domain = text;
  if (kind === 4 && tensor) tensor.dims[at % 2] = number;
  if (kind === 5 && tensor) tensor.dataType = at % 30;
  if (kind === 6 && tensor) tensor.name = text;
  if (kind === 7 && attribute) [attribute.i, attribute.ints] = [number, [number, number]];
  if (kind === 8 && attribute) attribute.type = at % 15;
  if (kind === 9 && info) info.name = text;
  if (kind === 10 && node) graph.node.push(node);
  if (kind === 11 && info?.type?.value.case === "tensorType") info.type.value.value.elemType = at % 30;
}

const outside = fc.constantFrom(
  "../../etc/passwd",
  "/etc/passwd",
  "a/../../b",
  "..",
  "",
  "\0",
  "model.onnx",
  "missing.data",
);
const vast = fc.constantFrom(2 ** 31, 2 ** 40, 2 ** 53 - 1, -1, 0);

/** Files that mean harm: data outside the folder, sizes that nobody has, cycles, other domains, graphs without end. */
export const hostileFiles = fc
  .tuple(fc.nat(7), outside, vast, fc.nat(40))
  .map(([kind, location, size, count]): Uint8Array => {
    const inputs = { x: ["batch", 4] } as const;
    const outputs = { y: ["batch", 4] } as const;
    const weight = floatTensor("w", [4, 4], new Array(16).fill(1));
    if (kind === 0) {
      const model = decodeModel(
        onnxFile({
          ...{ inputs, outputs, initializers: [weight] },
          nodes: [{ op: "MatMul", inputs: ["x", "w"], outputs: ["y"] }],
        }),
      );
      const [tensor] = model.graph?.initializer ?? [];
      if (tensor) {
        const entry = (key: string, value: string) =>
          ({ $typeName: "onnx.StringStringEntryProto", key, value }) as const;
        Object.assign(tensor, { floatData: [], dataLocation: 1 });
        tensor.externalData = [entry("location", location), entry("offset", String(size)), entry("length", "64")];
      }
      return encodeModel(model);
    }
    if (kind === 1) {
      const nodes = [
        { op: "Add", inputs: ["x", "b"], outputs: ["a"] },
        { op: "Relu", inputs: ["a"], outputs: ["b"] },
        { op: "Relu", inputs: [count % 2 === 0 ? "b" : "y"], outputs: ["y"] },
      ];
      return onnxFile({ inputs, outputs, nodes });
    }
    if (kind === 2) {
      const domain = count % 2 === 0 ? "evil.custom" : "com.microsoft";
      return onnxFile({
        ...{ inputs, outputs, domains: [domain] },
        nodes: [{ op: "Nothing", domain, inputs: ["x"], outputs: ["y"] }],
      });
    }
    if (kind === 3) {
      // Claims 2^40 elements and more, which no machine here has.
      const shape = intTensor("s", [2], [size, 2 ** 20]);
      const nodes = [
        { op: "ConstantOfShape", inputs: ["s"], outputs: ["c"] },
        { op: "ReduceSum", inputs: ["c"], outputs: ["r"] },
        { op: "Add", inputs: ["x", "r"], outputs: ["y"] },
      ];
      return onnxFile({ inputs, outputs, nodes, initializers: [shape] });
    }
    if (kind === 4) {
      const lying = floatTensor("w", [size, 4], new Array(count).fill(1));
      return onnxFile({
        ...{ inputs, outputs, initializers: [lying] },
        nodes: [{ op: "MatMul", inputs: ["x", "w"], outputs: ["y"] }],
      });
    }
    if (kind === 5) {
      const shape = { y: ["batch", Math.max(1, size)] };
      return onnxFile({
        inputs: { x: [Math.max(1, size), 4] },
        outputs: shape,
        nodes: [{ op: "Relu", inputs: ["x"], outputs: ["y"] }],
      });
    }
    if (kind === 6) {
      // The kernel is larger than the picture, and groups do not divide the channels.
      const kernel = floatTensor("w", [2, 3, 9, 9], new Array(2 * 3 * 81).fill(1));
      return onnxFile({
        ...{
          inputs: { x: ["batch", 3, count % 5, 4] },
          outputs: { y: ["batch", 2, "h", "w"] },
          initializers: [kernel],
        },
        nodes: [{ op: "Conv", inputs: ["x", "w"], outputs: ["y"], attributes: { group: (count % 3) + 1 } }],
      });
    }
    const table = floatTensor("w", [4, 4], new Array(16).fill(1));
    return onnxFile({
      ...{ inputs: { x: ["batch", "length"] }, outputs: { y: ["batch", "length", 4] }, types: { x: 7 } },
      initializers: [table],
      nodes: [{ op: "Gather", inputs: ["w", "x"], outputs: ["y"], attributes: { axis: (count % 5) - 2 } }],
    });
  });
