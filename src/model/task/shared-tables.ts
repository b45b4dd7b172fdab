/**
 * The names of a table that encoder and decoder share. transformers keeps it as `shared`, but looks tokens up through
 * `encoder.embed_tokens` and `decoder.embed_tokens`: two modules over one weight, which PEFT adapts apart.
 */

import type { FileRole } from "./manifest.js";
import type { ModuleName } from "./names.js";
import type { ModuleKind } from "./weighted-nodes.js";

const shared = "shared";
const lookup = "embed_tokens";

const lastSegment = (path: string): string => path.slice(path.lastIndexOf(".") + 1);

export const isSharedTable = (path: string): boolean => lastSegment(path) === shared;
export const isLookup = (path: string): boolean => lastSegment(path) === lookup;

/** The names of a module, the most certain first, where some of them may be the shared table's: its own come instead, as far as the file tells them. */
export function unsharedNames(kind: ModuleKind, names: readonly ModuleName[], role: FileRole): readonly ModuleName[] {
  const table = names.find(({ path }) => isSharedTable(path));
  if (!table || kind === "convolution") return names;
  const others = names.filter(({ path }) => !isSharedTable(path));
  if (kind === "linear") return others.length > 0 ? others : [{ ...table, path: "lm_head" }];
  const side = sideOf(others, role);
  if (side === null) return names;
  const outer = table.path.slice(0, -shared.length);
  return [{ ...table, path: `${outer}${side}.${lookup}` }, ...others];
}

/** Which of the two looks the table up; null if nothing tells. */
function sideOf(names: readonly ModuleName[], role: FileRole): "encoder" | "decoder" | null {
  if (role !== "whole") return role === "encoder" ? "encoder" : "decoder";
  const segments = names.filter(({ path }) => isLookup(path)).flatMap(({ path }) => path.split("."));
  const sides = (["encoder", "decoder"] as const).filter((side) => segments.includes(side));
  return sides.length === 1 ? (sides[0] ?? null) : null;
}
