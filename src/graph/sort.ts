/** The order in which nodes can run. */

import { bodyNames } from "./prune.js";
import type { Node } from "./types.js";

/**
 * The nodes, each after those that make what it reads and otherwise in the given order; or a node that waits for itself. Names that
 * no node makes count as given.
 */
export function sortNodes(nodes: readonly Node[]): readonly Node[] | { readonly cyclic: Node } {
  const makers = new Map(nodes.flatMap((node) => node.outputs.map(({ name }) => [name, node] as const)));
  const makersOf = ({ inputs, attributes }: Node): Node[] =>
    [...inputs.flatMap((input) => input?.name ?? []), ...bodyNames(attributes)].flatMap(
      (name) => makers.get(name) ?? [],
    );
  const sorted = new Set<Node>();
  const open = new Set<Node>();
  for (const first of nodes) {
    // A stack of its own: a hostile file may be as deep as it has nodes.
    const stack = [{ node: first, before: makersOf(first) }];
    open.add(first);
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      const next = top.before.pop();
      if (next === undefined) {
        sorted.add(top.node);
        open.delete(top.node);
        stack.pop();
      } else if (!sorted.has(next)) {
        if (open.has(next)) return { cyclic: next };
        open.add(next);
        stack.push({ node: next, before: makersOf(next) });
      }
    }
  }
  return [...sorted];
}
