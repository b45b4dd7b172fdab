/** Which weights of a graph several sessions can use from one mapping, with one prepacked copy among them. */
import type { Graph } from "../graph/types.js";
import type { SharedWeights } from "../runtime/session.js";

/** Adds a graph's external initializers to the shared weights and returns their names. */
export function shareWeights(graph: Graph, shared: SharedWeights): string[] {
  const names: string[] = [];
  for (const { value, data } of graph.initializers) {
    if (data.kind !== "external" || value.type === "bfloat16") continue;
    shared.add(value.name, value.type, value.shape.map(Number), data);
    names.push(value.name);
  }
  return names;
}
