/** Which outputs of a graph a layer decides by itself. */

import type { Graph, Node } from "../../graph/types.js";

/** Operators that keep each value of a layer's outputs apart, or a softmax over them. */
const passing: ReadonlySet<string> = new Set(["Identity", "Cast", "Softmax", "LogSoftmax", "Sigmoid", "Relu", "Tanh"]);

/** Names of the graph's outputs that are a layer's own outputs, but for its bias and an activation. */
export function outputsBehind(graph: Graph, layer: Node): string[] {
  const outputs = new Set(graph.outputs.map(({ name }) => name));
  const constants = new Set(graph.initializers.map(({ value }) => value.name));
  const passes = ({ op, domain, inputs }: Node): boolean =>
    domain === "" && (passing.has(op) || (op === "Add" && inputs.some((input) => constants.has(input?.name ?? ""))));
  const found: string[] = [];
  const names = layer.outputs.map(({ name }) => name);
  for (let name = names.pop(); name !== undefined; name = names.pop()) {
    if (outputs.has(name)) found.push(name);
    for (const node of graph.nodes) {
      if (!node.inputs.some((input) => input?.name === name) || !passes(node)) continue;
      names.push(...node.outputs.map((output) => output.name));
    }
  }
  return found;
}
