/** Which operators of a graph training would need a gradient of, and has none. */

import { bodyNames } from "../graph/prune.js";
import type { Graph } from "../graph/types.js";
import { ruleOf } from "./vjp.js";

/** Operators whose outputs no gradient passes: sizes, places and truths. */
const passesNone: ReadonlySet<string> = new Set([
  ...["Shape", "Size", "ArgMax", "ArgMin", "NonZero", "NonMaxSuppression", "OneHot", "Sign", "Floor", "Ceil", "Round"],
  ...["Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "And", "Or", "Xor", "Not", "IsNaN", "IsInf"],
  ...["ConstantOfShape", "EyeLike"],
]);

/** The operators without a rule between the nodes named `from`, theirs included, and the graph's outputs; sorted, each once. */
export function missingRules({ nodes }: Graph, from: ReadonlySet<string>): string[] {
  const reached = new Set<string>();
  const missing = new Set<string>();
  for (const node of nodes) {
    const reads = [...node.inputs.flatMap((input) => input?.name ?? []), ...bodyNames(node.attributes)];
    if (!from.has(node.name) && !reads.some((name) => reached.has(name))) continue;
    if (node.domain === "" && passesNone.has(node.op)) continue;
    for (const { name } of node.outputs) if (name !== "") reached.add(name);
    if (ruleOf(node) === null) missing.add(node.op);
  }
  return [...missing].sort();
}
