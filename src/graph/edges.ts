/** Which values a graph has, and which of its nodes write and read each, by the value's name. */

import type { Graph, Node } from "./types.js";

/** Names of all values of a graph: what it is given, its initializers and what its nodes write. */
export function valueNames({ inputs, initializers, nodes }: Graph): Set<string> {
  const values = [...inputs, ...initializers.map(({ value }) => value), ...nodes.flatMap(({ outputs }) => outputs)];
  return new Set(values.flatMap(({ name }) => name || []));
}

export function producersOf(nodes: readonly Node[]): ReadonlyMap<string, Node> {
  return new Map(nodes.flatMap((node) => node.outputs.map(({ name }) => [name, node] as const)));
}

/** A node that reads a value twice is listed twice. Graphs in attributes do not count. */
export function readersOf(nodes: readonly Node[]): ReadonlyMap<string, readonly Node[]> {
  const readers = new Map<string, Node[]>();
  for (const node of nodes) {
    for (const input of node.inputs) {
      if (!input) continue;
      const known = readers.get(input.name);
      if (known) known.push(node);
      else readers.set(input.name, [node]);
    }
  }
  return readers;
}
