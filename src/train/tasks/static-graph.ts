/**
 * A graph with the sizes of all its values, for inputs of given sizes. ONNX Runtime itself infers them: it runs the graph once and
 * returns the shape of every value. What no input reaches becomes a constant.
 */

import { assert } from "../../base/errors.js";
import { bodyNames, pruneGraph } from "../../graph/prune.js";
import { dataType, serializeGraph } from "../../graph/serialize.js";
import type { ElementType, Graph, Initializer, Node, Value } from "../../graph/types.js";
import { Session } from "../../runtime/session.js";
import type { Tensor } from "../../runtime/tensor.js";

export interface StaticOptions {
  /** Inputs to run with; all later runs have their sizes. */
  readonly inputs: ReadonlyMap<string, Tensor>;
  /** Outputs of nodes that adapters change. What depends on them is not constant, though no input reaches it: an object query of DETR. */
  readonly adapted: ReadonlySet<string>;
  /** Initializers that are trained. */
  readonly trained: ReadonlySet<string>;
  readonly threads: number;
  readonly signal?: AbortSignal;
}

/** Throws what ONNX Runtime throws for inputs that the graph cannot compute. */
export async function withSizes(graph: Graph, options: StaticOptions): Promise<Graph> {
  const inputs = graph.inputs.map((value) => ({ ...value, shape: options.inputs.get(value.name)?.shape ?? [] }));
  const moving = nodesThatMove(graph, options);
  const read = new Set(graph.outputs.map(({ name }) => name));
  for (const { inputs: values, attributes } of moving) {
    for (const value of values) if (value) read.add(value.name);
    for (const name of bodyNames(attributes)) read.add(name);
  }
  const fixed = graph.nodes
    .filter((node) => !moving.has(node))
    .flatMap(({ outputs }) => outputs.filter(({ name }) => read.has(name)));
  const moved = graph.nodes.flatMap((node) => (moving.has(node) ? node.outputs.filter(({ name }) => name !== "") : []));
  const found = await run(graph, inputs, fixed, moved, options);
  const types = new Map(inputs.map((value): [string, ElementType] => [value.name, value.type]));
  for (const { value } of graph.initializers) types.set(value.name, value.type);
  const known = new Map(inputs.map((value): [string, Value] => [value.name, value]));
  const constants: Initializer[] = fixed.map(({ name }) => {
    const tensor = found.get(name);
    assert(tensor, "each fixed value was computed");
    const value = { name, type: tensor.type, shape: tensor.shape };
    known.set(name, value);
    types.set(name, tensor.type);
    const { buffer, byteOffset, byteLength } = tensor.data;
    return { value, data: { kind: "inline", bytes: new Uint8Array(buffer, byteOffset, byteLength) } };
  });
  for (const { value } of graph.initializers) known.set(value.name, value);
  const at = (value: Value): Value => known.get(value.name) ?? value;
  const nodes = graph.nodes
    .filter((node) => moving.has(node))
    .map((node): Node => {
      const outputs = node.outputs.map((value, index): Value => {
        if (value.name === "") return value;
        const sizes = found.get(shapeName(value.name));
        assert(sizes, "the shape of each value was computed");
        const sized = { name: value.name, type: typeOf(node, index, types), shape: Array.from(sizes.data, Number) };
        known.set(value.name, sized);
        types.set(value.name, sized.type);
        return sized;
      });
      return { ...node, inputs: node.inputs.map((value) => value && at(value)), outputs };
    });
  const initializers = [...graph.initializers, ...constants];
  return pruneGraph({ name: graph.name, inputs, outputs: graph.outputs.map(at), nodes, initializers });
}

/** The nodes whose results depend on the data of inputs, or on what is trained. Sizes do not: they are the same in every run. */
function nodesThatMove(graph: Graph, { adapted, trained }: StaticOptions): Set<Node> {
  const names = new Set([...graph.inputs.map(({ name }) => name), ...trained]);
  const moving = new Set<Node>();
  for (const node of graph.nodes) {
    const read = [...node.inputs.flatMap((value) => value?.name ?? []), ...bodyNames(node.attributes)];
    const moves = !sizes.has(node.op) && read.some((name) => names.has(name));
    if (!moves && !node.outputs.some(({ name }) => adapted.has(name))) continue;
    moving.add(node);
    for (const { name } of node.outputs) names.add(name);
  }
  return moving;
}

const sizes: ReadonlySet<string> = new Set(["Shape", "Size"]);

const shapeName = (name: string): string => `shape of ${name}`;

/** Values by name, and shapes by `shapeName`. */
async function run(
  graph: Graph,
  inputs: readonly Value[],
  values: readonly Value[],
  shapes: readonly Value[],
  { inputs: tensors, threads, signal }: StaticOptions,
): Promise<Map<string, Tensor>> {
  const readers = shapes.map(({ name }): Node => {
    const output = { name: shapeName(name), type: "int64" as const, shape: ["rank"], unknown: "shape" as const };
    const input = { name, type: "float32" as const, shape: [] };
    return { name: output.name, op: "Shape", domain: "", inputs: [input], outputs: [output], attributes: {} };
  });
  const outputs = [
    ...values.map((value) => ({ ...value, unknown: "type" as const })),
    ...readers.flatMap((node) => node.outputs),
  ];
  const probe = pruneGraph({ ...graph, inputs, outputs, nodes: [...graph.nodes, ...readers] });
  using session = await Session.create(serializeGraph(probe), { threads, optimization: 0 });
  using binding = session.bind();
  for (const { name } of inputs) {
    const tensor = tensors.get(name);
    assert(tensor, `there is an input ${name}`);
    binding.input(name, tensor);
  }
  for (const { name } of outputs) binding.outputToHost(name);
  await session.run(binding, signal);
  const found = binding.outputs();
  return new Map(outputs.map(({ name }, index) => [name, found[index] as Tensor]));
}

const byCode = new Map(Object.entries(dataType).map(([type, code]) => [Number(code), type as ElementType]));

/** Operators with a result of one type. */
const resultTypes: Readonly<Record<string, ElementType>> = {
  ...fill(["Shape", "Size", "ArgMax", "ArgMin", "NonZero", "NonMaxSuppression"], "int64"),
  ...fill(["Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"], "bool"),
  ...fill(["And", "Or", "Xor", "Not", "IsNaN", "IsInf"], "bool"),
  ...fill(["DynamicQuantizeLinear"], "uint8"),
};

function fill(operators: readonly string[], type: ElementType): Record<string, ElementType> {
  return Object.fromEntries(operators.map((operator) => [operator, type]));
}

/** ONNX's rule for the type of an output, for the operators that models are made of. */
function typeOf(
  { op, inputs, attributes }: Node,
  output: number,
  types: ReadonlyMap<string, ElementType>,
): ElementType {
  const of = (index: number): ElementType | undefined => types.get(inputs[index]?.name ?? "");
  const { to, value } = attributes;
  if (op === "Cast" && to?.kind === "int") return byCode.get(to.value) ?? "float32";
  if (op === "ConstantOfShape") return value?.kind === "tensor" ? value.value.type : "float32";
  if (op === "Where") return of(1) ?? "float32";
  if (op === "DequantizeLinear") return of(1) ?? "float32";
  if (output === 1 && (op === "TopK" || op === "MaxPool")) return "int64";
  return resultTypes[op] ?? of(0) ?? "float32";
}
