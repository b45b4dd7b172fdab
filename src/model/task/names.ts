/** The names of modules: where they survive an export, and which paths mean the same module. */

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

/** Names of constants, as exporters and this project write them, also in a joined graph. Parameters keep the path of their module. */
const constantName = /^((encoder|decoder):)?(constant\.|onnx::|val_\d+$|_?to_copy|.*\/)/;

/** Whether an initializer is called as a module's parameter is. */
export const isParameterName = (name: string): boolean => name.includes(".") && !constantName.test(name);

/** Modules that transformers 5 renamed, from the names of version 4. Files and adapters have either. */
const renamed: readonly (readonly [old: RegExp, current: string])[] = [
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
export function currentSpelling(path: string): string {
  return renamed.reduce((text, [old, current]) => text.replace(old, current), path);
}

/** Whether one path is the other, or its end after a dot. */
export const pathsAgree = (a: string, b: string): boolean => a === b || a.endsWith(`.${b}`) || b.endsWith(`.${a}`);

/**
 * The modules that an adapter's path means: those of that name, else those with the same name in the spelling of transformers 5, else those
 * with a name of which it is the end or which is its end, else the same in that spelling. More than one: the path is ambiguous.
 */
export function modulesAt<T extends { readonly path: string; readonly names: readonly ModuleName[] }>(
  modules: readonly T[],
  path: string,
): readonly T[] {
  const current = currentSpelling(path);
  const tests: readonly ((name: string) => boolean)[] = [
    (name) => name === path,
    (name) => currentSpelling(name) === current,
    (name) => pathsAgree(name, path),
    (name) => pathsAgree(currentSpelling(name), current),
  ];
  for (const fits of tests) {
    const found = modules.filter((module) => [module, ...module.names].some(({ path: name }) => fits(name)));
    if (found.length > 0) return found;
  }
  return [];
}
