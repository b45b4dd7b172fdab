/** What `inspect` shows of an adapter's folder, with or without its base model. */

import type { ModuleKind as TargetKind } from "../../model/task/weighted-nodes.js";
import { asVersion } from "../store/version-digest.js";
import type { AdapterSummary } from "../types.js";
import type { AdapterBase } from "./base.js";
import type { CanonicalConfig } from "./config/config.js";
import { type ExamineOptions, examine } from "./examine.js";
import type { ScaledModule } from "./module-plan.js";

export interface ModuleRow extends ScaledModule {
  readonly kind: TargetKind;
  /** `F32`, or `F16/F32` if A and B differ. */
  readonly dtype: string;
}

/** A module that replaces the base's, whole or in its bias. */
export interface SavedRow {
  readonly path: string;
  readonly outFeatures: number;
  readonly parts: readonly ("weight" | "bias")[];
}

/** A table or a head of which it replaces rows. */
export interface TokenRow {
  readonly path: string;
  /** How many. */
  readonly tokens: number;
  /** Whether a head that is tied to the table reads the same rows. */
  readonly isTied: boolean;
}

/** Modules with the same sizes and scale that differ only in their layer. */
export interface ModuleKind extends ModuleRow {
  /** With `*` in place of the layer's number. */
  readonly path: string;
  readonly count: number;
}

export interface AdapterDescription {
  readonly summary: AdapterSummary;
  readonly config: CanonicalConfig;
  /** One row per module, in the base's order if there is one. */
  readonly modules: readonly ModuleRow[];
  /** The same table with equal layers grouped. */
  readonly kinds: readonly ModuleKind[];
  readonly saved: readonly SavedRow[];
  readonly tokens: readonly TokenRow[];
  /** What a task model's outputs are called; null if the adapter does not say. */
  readonly labels: readonly string[] | null;
}

/** Checks the folder and describes it. Without a base (null) paths and sizes are accepted as they are. */
export async function describeAdapter(
  folder: string,
  base: AdapterBase | null,
  options: ExamineOptions = {},
): Promise<AdapterDescription> {
  const { summary, config, modules, saved, tokens, labels } = await examine(folder, base, options);
  const rows = modules.map(({ path, kind, inFeatures, outFeatures, rank, alpha, scale, a, b }): ModuleRow => {
    const dtype = a.dtype === b.dtype ? a.dtype : `${a.dtype}/${b.dtype}`;
    return { path, kind, inFeatures, outFeatures, rank, alpha, scale, dtype };
  });
  const savedRows = saved.map(({ path, outFeatures, weight, bias }): SavedRow => {
    const parts = [...(weight ? (["weight"] as const) : []), ...(bias ? (["bias"] as const) : [])];
    return { path, outFeatures, parts };
  });
  const tokenRows = tokens.map(
    ({ path, ids, inEmbeddings, inHead }): TokenRow => ({ path, tokens: ids.length, isTied: inEmbeddings && inHead }),
  );
  const described = { config, modules: rows, kinds: fold(rows), saved: savedRows, tokens: tokenRows, labels };
  return { summary: await asVersion(folder, summary), ...described };
}

function fold(rows: readonly ModuleRow[]): ModuleKind[] {
  const kinds = new Map<string, ModuleKind>();
  for (const row of rows) {
    const path = row.path.replace(/(^|\.)\d+(?=\.)/g, "$1*");
    const key = JSON.stringify({ ...row, path });
    const kind = kinds.get(key);
    kinds.set(key, { ...row, path, count: (kind?.count ?? 0) + 1 });
  }
  return [...kinds.values()];
}
