/** Which nodes of a graph write and read each value, by the value's name. */

import type { Node } from "./types.js";

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
