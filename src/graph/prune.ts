/** Drops nodes and initializers that no output needs. Inputs stay, used or not. */
import { valueNames } from "./edges.js";
import type { Graph, Node } from "./types.js";

/** The graph with only the nodes that an output depends on: ONNX Runtime runs every node that it is given. */
export function pruneGraph(graph: Graph): Graph {
  const needed = new Set(graph.outputs.map(({ name }) => name));
  const nodes = graph.nodes.toReversed().filter(({ inputs, outputs, attributes }) => {
    if (!outputs.some(({ name }) => needed.has(name))) return false;
    for (const input of inputs) if (input) needed.add(input.name);
    for (const name of bodyNames(attributes)) needed.add(name);
    return true;
  });
  const initializers = graph.initializers.filter(({ value }) => needed.has(value.name));
  return { ...graph, nodes: nodes.reverse(), initializers };
}

/** Names of the surrounding graph that the graphs in a node's attributes read. */
export function bodyNames(attributes: Node["attributes"]): string[] {
  return Object.values(attributes).flatMap(({ kind, value }) => (kind === "graph" ? freeNames(value) : []));
}

/** Names that a graph reads and does not define. */
function freeNames(graph: Graph): string[] {
  const own = valueNames(graph);
  const read = graph.nodes.flatMap((node) => [
    ...node.inputs.flatMap((input) => input?.name ?? []),
    ...bodyNames(node.attributes),
  ]);
  return [...read, ...graph.outputs.map(({ name }) => name)].filter((name) => !own.has(name));
}
