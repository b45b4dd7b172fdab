/**
 * Finds the base's linear layer that an adapter's module path means: by its exact path, or, for wrappers of a language model
 * (`model.language_model.layers...`) and for models saved without their head, by the one site that differs in those leading
 * segments only.
 */

import type { TargetModule } from "../../model/blueprint.js";

const wrapping: ReadonlySet<string> = new Set(["model", "language_model", "text_model", "transformer"]);

export interface ResolvedSite {
  readonly path: string;
  /** null when no base is at hand: the tensors' own sizes are taken. */
  readonly site: TargetModule | null;
}

export class SiteIndex {
  readonly #byPath: ReadonlyMap<string, TargetModule> | null;
  /** By the path without wrapping segments; null where two sites share it. */
  readonly #byCore = new Map<string, TargetModule | null>();

  /** null: no base; every path resolves to itself. */
  constructor(sites: readonly TargetModule[] | null) {
    this.#byPath = sites && new Map(sites.map((site) => [site.path, site]));
    for (const site of sites ?? []) {
      const core = coreOf(site.path);
      this.#byCore.set(core, this.#byCore.has(core) ? null : site);
    }
  }

  resolve(path: string): ResolvedSite | null {
    if (!this.#byPath) return path === "" ? null : { path, site: null };
    const site = this.#byPath.get(path) ?? this.#byCore.get(coreOf(path));
    return site ? { path: site.path, site } : null;
  }

  /** The base's modules that adapters are trained on: its linear layers, its head where it is tied too, its embeddings. */
  modules(): readonly string[] {
    const linear = [...(this.#byPath?.keys() ?? [])];
    const first = linear[0];
    if (first === undefined) return [];
    const embeddings = first.startsWith("transformer.")
      ? ["transformer.wte", "transformer.wpe"]
      : ["model.embed_tokens"];
    return [...linear, ...(this.#byPath?.has("lm_head") ? [] : ["lm_head"]), ...embeddings];
  }

  /** The wrapping segments that a path begins with, with their dots. */
  wrapperOf(path: string): string {
    return path.slice(0, path.length - coreOf(path).length);
  }

  /** The place of a path in the base's order. */
  order(): ReadonlyMap<string, number> {
    return new Map([...(this.#byPath?.keys() ?? [])].map((path, place) => [path, place]));
  }
}

function coreOf(path: string): string {
  const segments = path.split(".");
  const start = segments.findIndex((segment) => !wrapping.has(segment));
  return segments.slice(Math.max(start, 0)).join(".");
}
