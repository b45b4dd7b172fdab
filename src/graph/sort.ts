/** The order in which nodes can run. */

import { producersOf } from "./edges.js";
import { bodyNames } from "./prune.js";
import type { Node } from "./types.js";

/**
 * The nodes, each after the producers of its inputs and otherwise in the given order; or a node on a cycle. Names that no node
 * produces count as graph inputs.
 */
export function sortNodes(nodes: readonly Node[]): readonly Node[] | { readonly cyclic: Node } {
  const producers = producersOf(nodes);
  const nodesBefore = ({ inputs, attributes }: Node): Node[] =>
    [...inputs.flatMap((input) => input?.name ?? []), ...bodyNames(attributes)].flatMap(
      (name) => producers.get(name) ?? [],
    );
  const sorted = new Set<Node>();
  const open = new Set<Node>();
  for (const first of nodes) {
    // An explicit stack, not recursion: in a hostile file every node may depend on the next.
    const stack = [{ node: first, before: nodesBefore(first) }];
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
        stack.push({ node: next, before: nodesBefore(next) });
      }
    }
  }
  return [...sorted];
}
