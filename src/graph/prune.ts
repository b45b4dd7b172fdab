/** Drops nodes and initializers that no output needs. Inputs stay, used or not. */
import type { Graph } from "./types.js";

/** The graph with only the nodes that an output depends on: ONNX Runtime runs every node that it is given. */
export function pruneGraph(graph: Graph): Graph {
  const needed = new Set(graph.outputs.map(({ name }) => name));
  const nodes = graph.nodes.toReversed().filter(({ inputs, outputs }) => {
    if (!outputs.some(({ name }) => needed.has(name))) return false;
    for (const input of inputs) if (input) needed.add(input.name);
    return true;
  });
  const initializers = graph.initializers.filter(({ value }) => needed.has(value.name));
  return { ...graph, nodes: nodes.reverse(), initializers };
}
