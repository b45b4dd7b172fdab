/**
 * ONNX files with random damage: whatever the bytes are, the answer is a graph or one error, in bounded time, and ONNX Runtime takes
 * the graph or refuses it in order. `npm run fuzz:onnx` tries 5,000 files; FUZZ_SEED and FUZZ_RUNS choose others.
 */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import fc from "fast-check";
import { LorikeetError } from "../../src/base/errors.js";
import { chooseBranch, flagsOf } from "../../src/graph/branches.js";
import { readOnnx } from "../../src/graph/read.js";
import { serializeGraph } from "../../src/graph/serialize.js";
import type { Graph } from "../../src/graph/types.js";
import { decodeModel, encodeModel, type GraphProto } from "../../src/onnx/codec.js";
import { Session } from "../../src/runtime/session.js";
import { taskRoot } from "../support/task-models.js";

const options = { numRuns: Number(process.env.FUZZ_RUNS ?? 120), seed: Number(process.env.FUZZ_SEED ?? 1) };
const files = [
  "policy-mlp/onnx/model",
  "policy-mlp/onnx/model_dynamo",
  "resnet/onnx/model",
  "marian/onnx/decoder_model_merged",
];
const sources = files.map((name) => new Uint8Array(readFileSync(`${taskRoot}/${name}.onnx`)));

/** Bytes that are overwritten, cut out or repeated. */
const damagedBytes = fc
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
const damagedFields = fc
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

/** Reads bytes; what was read must be loaded or refused by ONNX Runtime. */
async function examine(bytes: Uint8Array): Promise<void> {
  let graphs: Graph[];
  try {
    const { graph } = readOnnx(bytes, "fuzz.onnx", () => {
      throw new LorikeetError("model_invalid", "no external data");
    });
    graphs = [
      graph,
      ...flagsOf(graph).flatMap((flag) => [true, false].map((value) => chooseBranch(graph, flag, value))),
    ];
  } catch (error) {
    assert.ok(error instanceof LorikeetError, error instanceof Error ? error.stack : String(error));
    assert.match(error.code, /^model_(invalid|unsupported)$/);
    assert.ok(error.message.length < 1000, error.message);
    return;
  }
  for (const graph of graphs) {
    try {
      using session = await Session.create(serializeGraph(graph), { threads: 1 });
      assert.ok(session.handle);
    } catch (error) {
      assert.ok(error instanceof LorikeetError, error instanceof Error ? error.stack : String(error));
      assert.equal(error.code, "runtime_failed");
    }
  }
}

test("files with damaged bytes are read or refused", async () => {
  await fc.assert(fc.asyncProperty(damagedBytes, examine), options);
});

test("files with damaged fields are read or refused", async () => {
  await fc.assert(fc.asyncProperty(damagedFields, examine), options);
});
