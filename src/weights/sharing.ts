/** Shares a graph's weights among sessions: one mapping of the file and one prepacked copy. */
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
