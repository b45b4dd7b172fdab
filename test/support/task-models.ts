/** Tiny models of each task as exporters write them, and what PyTorch computes with them. */

import { readdirSync } from "node:fs";
import { basename, join } from "node:path";
import { openOnnx } from "../../src/graph/open.js";
import { serializeGraph } from "../../src/graph/serialize.js";
import type { Graph } from "../../src/graph/types.js";
import { Session } from "../../src/runtime/session.js";
import { Tensor } from "../../src/runtime/tensor.js";
import { SafetensorsFile } from "../../src/tensor/safetensors.js";

export const taskRoot = "test/fixtures/tasks";
export const taskModels: readonly string[] = readdirSync(taskRoot).sort();

/** Paths of a model's ONNX files. */
export function onnxFilesOf(model: string): string[] {
  const folder = join(taskRoot, model, "onnx");
  return readdirSync(folder)
    .sort()
    .map((name) => join(folder, name));
}

export const openGraph = async (path: string): Promise<Graph> => (await openOnnx(path, basename(path))).graph;

/** Inputs and outputs by name. */
export async function readExpectedTensors(model: string): Promise<Map<string, Tensor>> {
  await using file = await SafetensorsFile.open(join(taskRoot, model, "expected.safetensors"));
  const found = new Map<string, Tensor>();
  for (const [name, { dtype, shape }] of file.tensors) {
    const bytes = await file.read(name);
    found.set(name, Tensor.over(dtype === "I64" ? "int64" : "float32", shape, bytes.buffer));
  }
  return found;
}

/** Writes a graph as an ONNX file, loads it and runs it once. */
export async function runGraph(graph: Graph, inputs: ReadonlyMap<string, Tensor>): Promise<Map<string, Tensor>> {
  using session = await Session.create(serializeGraph(graph), { threads: 1 });
  const binding = session.bind();
  for (const { name } of graph.inputs) {
    const tensor = inputs.get(name);
    if (!tensor) throw new Error(`no input ${name}`);
    binding.input(name, tensor);
  }
  for (const { name } of graph.outputs) binding.outputToHost(name);
  await session.run(binding);
  const outputs = binding.outputs();
  return new Map(graph.outputs.map(({ name }, index) => [name, outputs[index] as Tensor]));
}

/** The largest difference, relative to the largest expected value. */
export function relativeError(found: Tensor | undefined, expected: Float32Array): number {
  const values = found?.data as Float32Array;
  if (values.length !== expected.length) return Number.POSITIVE_INFINITY;
  const largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  return expected.reduce((most, value, i) => Math.max(most, Math.abs(value - (values[i] ?? Number.NaN))), 0) / largest;
}

/** A tensor in the JSON of the Open Inference Protocol. */
export interface NamedTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly datatype: string;
  readonly data: readonly number[];
}

/** A tensor, or one row of it, as a request has it. */
export function tensorJson(name: string, { type, shape, data }: Tensor, row: number | null = null): NamedTensor {
  const values = Array.from(data as ArrayLike<number | bigint>, Number);
  const size = values.length / (shape[0] ?? 1);
  const datatype = type === "int64" ? "INT64" : "FP32";
  if (row === null) return { name, shape, datatype, data: values };
  return { name, shape: [1, ...shape.slice(1)], datatype, data: values.slice(row * size, (row + 1) * size) };
}

/** The largest difference, relative to the largest expected value. */
export function relativeDifference({ data, shape }: NamedTensor, expected: Tensor): number {
  if (shape.join() !== expected.shape.join()) return Number.POSITIVE_INFINITY;
  const found = Tensor.from("float32", shape, Float32Array.from(data));
  return relativeError(found, expected.data as Float32Array);
}
