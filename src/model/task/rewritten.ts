/** A graph with other weights, under names that tell their modules. */

import type { Graph, Initializer, Node, Value } from "../../graph/types.js";
import { HeadReader } from "./head-outputs.js";
import type { TaskModule } from "./target-modules.js";

/**
 * `weights`: by the present names of initializers. `graph`: one that the modules are used in. Its modules are found without a checkpoint
 * when it is written as a file.
 */
export function withWeights(
  graph: Graph,
  weights: ReadonlyMap<string, NewWeight>,
  modules: readonly TaskModule[],
): Graph {
  const names = moduleNames(graph, modules);
  const renamed = (value: Value): Value => {
    const name = names.get(value.name);
    return name === undefined ? value : { ...value, name };
  };
  const initializers = graph.initializers.map(({ value, data }): Initializer => {
    const values = weights.get(value.name);
    if (!values) return { value: renamed(value), data };
    const { buffer, byteOffset, byteLength } = values.data;
    const bytes = new Uint8Array(buffer, byteOffset, byteLength);
    return { value: { ...renamed(value), shape: values.shape }, data: { kind: "inline", bytes } };
  });
  const nodes = graph.nodes.map(
    (node): Node => ({ ...node, inputs: node.inputs.map((value) => value && renamed(value)) }),
  );
  return { ...graph, nodes, initializers, outputs: resizedOutputs(graph, weights, modules) };
}

export interface NewWeight {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** Outputs of a layer that has another number of them are as wide as its new weight. */
function resizedOutputs(
  graph: Graph,
  weights: ReadonlyMap<string, NewWeight>,
  modules: readonly TaskModule[],
): readonly Value[] {
  const widths = new Map<string, number>();
  const heads = new HeadReader(graph);
  for (const { target, graph: used } of modules.flatMap(({ uses }) => uses)) {
    const shape = weights.get(target.weight.value.name)?.shape;
    if (used.graph !== graph || !shape || target.kind !== "linear") continue;
    const width = shape[target.outFirst ? 0 : 1] ?? 0;
    if (width === target.outFeatures) continue;
    for (const name of heads.outputsOf(target.node).names) widths.set(name, width);
  }
  return graph.outputs.map((value) => {
    const width = widths.get(value.name);
    return width === undefined || value.unknown ? value : { ...value, shape: value.shape.with(-1, width) };
  });
}

/** `<path>.weight` and `<path>.bias` for initializers of modules, where no other value has that name. */
function moduleNames(graph: Graph, modules: readonly TaskModule[]): Map<string, string> {
  const taken = new Set([
    ...graph.inputs.map(({ name }) => name),
    ...graph.initializers.map(({ value }) => value.name),
    ...graph.nodes.flatMap(({ outputs }) => outputs.map(({ name }) => name)),
  ]);
  const names = new Map<string, string>();
  const rename = (from: string, to: string): void => {
    if (from === to || names.has(from) || taken.has(to)) return;
    names.set(from, to);
    taken.add(to);
  };
  for (const { path, kind, uses } of modules) {
    for (const { target, graph: used } of uses) {
      if (used.graph !== graph) continue; // another graph may give the same name to another weight
      if (kind !== "bias") rename(target.weight.value.name, `${path}.weight`);
      if (target.bias) rename(target.bias.values.value.name, `${path}.bias`);
    }
  }
  return names;
}
