/**
 * Exporters store equal constants once, so biases and normalizations of a model that is not trained yet, all zeros or ones, are one tensor
 * that many modules read. To train every weight, each module needs its own, as it has in PyTorch. A shared weight of different numbers is
 * shared on purpose, and stays so.
 */

import { valueNames } from "../../graph/edges.js";
import type { Graph, Initializer, Node } from "../../graph/types.js";
import { isParameterName } from "./names.js";
import { floatsOf } from "./weight-values.js";

/** By operator: what the second input and those after it are called in a module. */
const parts: Readonly<Record<string, readonly (string | null)[]>> = {
  LayerNormalization: ["weight", "bias"],
  SimplifiedLayerNormalization: ["weight"],
  GroupNormalization: ["weight", "bias"],
  InstanceNormalization: ["weight", "bias"],
  BatchNormalization: ["weight", "bias", "running_mean", "running_var"],
  PRelu: ["weight"],
  Gemm: [null, "bias"],
  Conv: [null, "bias"],
  ConvTranspose: [null, "bias"],
};

function partOf({ op }: Node, input: number): string | null {
  if (op === "Add") return "bias";
  if (op === "Mul") return "weight";
  return parts[op]?.[input - 1] ?? null;
}

/** The graph with a constant for each module that reads one. Layers of which neither an Identity nor a scope tells the module keep sharing. */
export async function withOwnConstants(graph: Graph): Promise<Graph> {
  const named = withoutAliases(graph, await uniformOf(graph));
  const uniform = await uniformOf(named);
  const taken = valueNames(named);
  const added = new Map<string, Initializer>();
  const ownOf = (node: Node, input: number, { value, data }: Initializer): Initializer => {
    const part = partOf(node, input);
    const path = node.scopes?.at(-1);
    if (part === null || path === undefined) return { value, data };
    const name = `${path}.${part}`;
    const known = added.get(name);
    if (known?.data === data) return known;
    if (taken.has(name)) return { value, data };
    const own = { value: { ...value, name }, data };
    added.set(name, own);
    taken.add(name);
    return own;
  };
  const nodes = named.nodes.map((node): Node => {
    const inputs = node.inputs.map((value, input) => {
      const constant = value && uniform.get(value.name);
      return constant ? ownOf(node, input, constant).value : value;
    });
    return { ...node, inputs };
  });
  return { ...named, nodes, initializers: [...named.initializers, ...added.values()] };
}

/** PyTorch's TorchScript exporter gives each further parameter its name by an Identity. */
function withoutAliases(graph: Graph, uniform: ReadonlyMap<string, Initializer>): Graph {
  const found = new Map(uniform);
  const aliases: Initializer[] = [];
  const isOutput = new Set(graph.outputs.map(({ name }) => name));
  const nodes = graph.nodes.filter(({ op, inputs: [input], outputs: [output] }) => {
    const constant = op === "Identity" && input && found.get(input.name);
    if (!constant || !output || isOutput.has(output.name) || !isParameterName(output.name)) return true;
    const own = { value: { ...constant.value, name: output.name }, data: constant.data };
    found.set(output.name, own);
    aliases.push(own);
    return false;
  });
  return { ...graph, nodes, initializers: [...graph.initializers, ...aliases] };
}

/** Vectors of one number, by name. */
async function uniformOf({ initializers, nodes }: Graph): Promise<Map<string, Initializer>> {
  const parametric = nodes.flatMap(({ op, inputs }) => (Object.hasOwn(parts, op) ? inputs.slice(1) : []));
  const isParameter = new Set(parametric.map((value) => value?.name));
  const found = new Map<string, Initializer>();
  for (const initializer of initializers) {
    const { name, type, shape } = initializer.value;
    const isVector = shape.length > 0 && shape.filter((size) => size !== 1).length <= 1;
    if (type !== "float32" || !isVector || !(isParameter.has(name) || isParameterName(name))) continue;
    const values = await floatsOf(initializer);
    if (values.every((value) => value === values[0])) found.set(name, initializer);
  }
  return found;
}
