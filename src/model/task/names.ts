/** Where the name of a module survives an export, and how adapters may spell it. */

import type { Node } from "../../graph/types.js";

/** What a name was read from, the most certain first. */
export type NameSource = "manifest" | "content" | "initializer" | "scope" | "node" | "bias";

export interface ModuleName {
  readonly by: NameSource;
  readonly path: string;
}

/**
 * The names that a node and its tensors tell. A convolution's scopes do not count: where a batch normalization was folded into it, they
 * are the normalization's.
 */
export function namesOf(node: Node, weight: string, bias: string | null): ModuleName[] {
  const scope = node.op === "Conv" ? undefined : node.scopes?.at(-1);
  return [
    ...named("initializer", without(weight, ".weight")),
    ...named("scope", scope ?? null),
    ...named("node", pathOfNode(node.name)),
    ...named("bias", bias === null ? null : without(bias, ".bias")),
  ];
}

const named = (by: NameSource, path: string | null): ModuleName[] =>
  path === null || path === "" ? [] : [{ by, path }];

function without(name: string, ending: string): string | null {
  return name.endsWith(ending) ? name.slice(0, -ending.length) : null;
}

/**
 * The path in a TorchScript export's node name, such as `/encoder/layer.0/query/MatMul`. The children of a Sequential repeat its name:
 * `/layer/layer.0/conv` is `layer.0.conv`. Null for other names.
 */
function pathOfNode(name: string): string | null {
  if (!name.startsWith("/")) return null;
  const parts = name.split("/").slice(1, -1);
  return parts.filter((part, index) => !parts[index + 1]?.startsWith(`${part}.`)).join(".");
}

/** Modules that transformers 5 renamed, from the names of version 4. Files and adapters have either. */
const renamed: readonly (readonly [former: RegExp, present: string])[] = [
  [/\bencoder\.layer\./g, "layers."],
  [/\battention\.(?:attention|self)\.(query|key|value)\b/g, "attention.$1"],
  [/\battention\.query\b/g, "attention.q_proj"],
  [/\battention\.key\b/g, "attention.k_proj"],
  [/\battention\.value\b/g, "attention.v_proj"],
  [/\battention\.output\.dense\b/g, "attention.o_proj"],
  [/\bintermediate\.dense\b/g, "mlp.fc1"],
  [/\boutput\.dense\b/g, "mlp.fc2"],
  [/\bout_proj\b/g, "o_proj"],
  [/\b(layers\.\d+)\.(fc[12])\b/g, "$1.mlp.$2"],
  [/\bbackbone\.conv_encoder\b/g, "backbone"],
];

/** A path in the spelling of transformers 5, to compare paths of either. */
export function presentSpelling(path: string): string {
  return renamed.reduce((text, [former, present]) => text.replace(former, present), path);
}
