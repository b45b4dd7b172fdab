/**
 * Finds the base's linear layer that an adapter's module path means: by its exact path, or, for wrappers of a language model
 * (`model.language_model.layers...`) and for models saved without their head, by the one site that differs in those leading
 * segments only.
 */

import type { BaseModule, TargetModule } from "../../model/blueprint.js";

const wrapping: ReadonlySet<string> = new Set(["model", "language_model", "text_model", "transformer"]);

export interface ResolvedSite {
  readonly path: string;
  /** null when no base is at hand: the tensors' own sizes are taken. */
  readonly site: TargetModule | null;
}

/** Heads and embeddings by their last segment: in the common families, for when no base is at hand. */
const commonTables = ["lm_head", "embed_tokens", "wte", "wpe"];
/** What adapters of every family call the head. */
const headName = "lm_head";

const isTarget = ({ role }: BaseModule): boolean => role === undefined || role === "head";
const lastSegment = (path: string): string => path.slice(path.lastIndexOf(".") + 1);

/** Those that take an adapter. */
export const linearModules = (modules: readonly BaseModule[]): readonly TargetModule[] => modules.filter(isTarget);

export class SiteIndex {
  readonly #byPath: ReadonlyMap<string, TargetModule> | null;
  /** By the path without wrapping segments; null where two sites share it. */
  readonly #byCore = new Map<string, TargetModule | null>();

  /** The head and the embeddings: a head that is not tied is among the linear layers, too. */
  readonly #tables: readonly BaseModule[];
  /** Their names, and those of the common families: what `all-linear` leaves out, and what a file may hold whole. */
  readonly tableNames: ReadonlySet<string>;

  /** null: no base; every path resolves to itself. */
  constructor(modules: readonly BaseModule[] | null) {
    const linears = modules && linearModules(modules);
    this.#byPath = linears && new Map(linears.map((site) => [site.path, site]));
    this.#tables = modules?.filter(({ role }) => role !== undefined) ?? [];
    this.tableNames = new Set([...commonTables, ...this.#tables.map(({ path }) => lastSegment(path))]);
    for (const site of linears ?? []) {
      const core = coreOf(site.path);
      this.#byCore.set(core, this.#byCore.has(core) ? null : site);
    }
  }

  resolve(path: string): ResolvedSite | null {
    if (!this.#byPath) return path === "" ? null : { path, site: null };
    const site = this.#byPath.get(path) ?? this.#byCore.get(coreOf(path)) ?? this.#headOf(path);
    return site ? { path: site.path, site } : null;
  }

  #headOf(path: string): TargetModule | undefined {
    return coreOf(path) === headName ? this.#tables.find(({ role }) => role === "head") : undefined;
  }

  /** Whether a path is the head's, by its own name or by the common one. */
  isHead(path: string): boolean {
    const name = lastSegment(path);
    return (
      name === headName || this.#tables.some((table) => table.role !== "embedding" && lastSegment(table.path) === name)
    );
  }

  /** The base's modules that adapters are trained on: its linear layers, its head where it is tied too, its embeddings. */
  modules(): readonly string[] {
    return [...new Set([...(this.#byPath?.keys() ?? []), ...this.#tables.map(({ path }) => path)])];
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
