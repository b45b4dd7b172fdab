/** Tables that encoder and decoder share, of which each file has a copy. */

import { sameShape } from "../../graph/shape.js";
import type { Graph, Initializer } from "../../graph/types.js";
import { findWeightedNodes } from "./weighted-nodes.js";

/** By the decoder's name of a table, the encoder's. */
export function tiedTables(encoder: Graph, decoder: Graph): Map<string, string> {
  const tied = new Map<string, string>();
  const tables = tablesOf(encoder);
  for (const table of tablesOf(decoder)) {
    const same = tables.find((other) => hasSameContent(table, other));
    if (same) tied.set(table.value.name, same.value.name);
  }
  return tied;
}

const tablesOf = (graph: Graph): Initializer[] =>
  findWeightedNodes(graph).flatMap(({ kind, weight }) => (kind === "table" ? [weight] : []));

/** Data in files has the same content if it is in the same place. */
export function hasSameContent(a: Initializer, b: Initializer): boolean {
  if (a.value.type !== b.value.type || !sameShape(a.value.shape, b.value.shape)) return false;
  if (a.data.kind === "inline") return b.data.kind === "inline" && Buffer.from(a.data.bytes).equals(b.data.bytes);
  return b.data.kind === "external" && a.data.file === b.data.file && a.data.offset === b.data.offset;
}
