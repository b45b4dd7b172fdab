/**
 * The graph for one more token, for rows whose pasts have different lengths. Exported graphs have no input for that: here the pasts lie at
 * the right end of a common length, a mask hides what is left of them, and each row looks up its own position.
 */

import { GraphBuilder } from "../../graph/builder.js";
import { producersOf, readersOf } from "../../graph/edges.js";
import { sortNodes } from "../../graph/sort.js";
import type { Graph, Node, Value } from "../../graph/types.js";
import { findWeightedNodes, type WeightedNode } from "./weighted-nodes.js";

/** float32 [rows, 1, 1, past + 1], added to the scores of a token's own text: 0, or -Infinity left of a row's past. */
export const pastMask = "past_mask";
/** int64 [rows, 1]: tokens of a row's past. */
export const rowPositions = "row_positions";

/** A table that positions are looked up in: its index follows from sizes alone. */
export interface PositionTable {
  readonly target: WeightedNode;
  /** Name of the index that the graph computes. */
  readonly index: string;
}

/** Tables that are not indexed by an input's values. Tables of distances are among them: their index is as long as the past. */
export function positionTables(graph: Graph): PositionTable[] {
  const producers = producersOf(graph.nodes);
  const inputs = new Set(graph.inputs.map(({ name }) => name));
  const isData = (name: string, seen: Set<string>): boolean => {
    if (inputs.has(name)) return true;
    const producer = producers.get(name);
    if (!producer || producer.op === "Shape" || seen.has(name)) return false;
    seen.add(name);
    return producer.inputs.some((input) => input !== null && isData(input.name, seen));
  };
  return findWeightedNodes(graph).flatMap((target) => {
    const index = target.kind === "table" ? target.node.inputs[1]?.name : undefined;
    return index !== undefined && !isData(index, new Set()) ? [{ target, index }] : [];
  });
}

/**
 * The graph with inputs for the mask and the positions. `keys`: inputs with the keys of each layer's own text. `positions`: tables, with what
 * their index is at position 0. null if a layer's softmax is not found.
 */
export function raggedStep(
  graph: Graph,
  keys: readonly string[],
  positions: readonly (PositionTable & { readonly offset: number })[],
): Graph | null {
  const softmaxes = new Set<Node>();
  for (const key of keys) {
    const found = softmaxesBehind(graph, key);
    if (found.length === 0) return null;
    for (const node of found) softmaxes.add(node);
  }
  const tables = new Map(positions.map(({ target, offset }) => [target.node, offset]));
  const kept = graph.nodes.filter((node) => !softmaxes.has(node) && !tables.has(node));
  const builder = GraphBuilder.from({ ...graph, nodes: kept });
  const mask = builder.input(pastMask, "float32", ["rows", 1, 1, "columns"]);
  const own = builder.input(rowPositions, "int64", ["rows", 1]);
  builder.scope("ragged", () => {
    for (const node of softmaxes) {
      const [scores] = node.inputs;
      if (!scores) continue;
      const [masked] = builder.node("Add", [scores, mask], [{ type: "float32", shape: [] }]);
      builder.node("Softmax", [masked ?? null], named(node.outputs), node.attributes);
    }
    for (const [node, offset] of tables) {
      const start = builder.constant("int64", [1], [offset]);
      const [index] = builder.node("Add", [own, start], [{ type: "int64", shape: ["rows", 1] }]);
      builder.node("Gather", [node.inputs[0] ?? null, index ?? null], named(node.outputs), node.attributes);
    }
  });
  for (const output of graph.outputs) builder.output(output);
  const built = builder.build();
  const sorted = sortNodes(built.nodes);
  return "cyclic" in sorted ? null : { ...built, nodes: sorted };
}

/** Outputs under the names that they had. */
const named = (outputs: readonly Value[]) => outputs.map(({ type, shape, name }) => ({ type, shape, name }));

/** The first softmax on each path from a value, except paths through its sizes. */
function softmaxesBehind({ nodes }: Graph, name: string): Node[] {
  const readers = readersOf(nodes);
  const found = new Set<Node>();
  const seen = new Set<Node>();
  const names = [name];
  for (let at = names.pop(); at !== undefined; at = names.pop()) {
    for (const node of readers.get(at) ?? []) {
      if (node.op === "Shape" || seen.has(node)) continue;
      seen.add(node);
      if (node.op === "Softmax") found.add(node);
      else names.push(...node.outputs.map((output) => output.name));
    }
  }
  return [...found];
}
