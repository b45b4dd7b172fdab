/**
 * Finds the target module that a path in an adapter means: the one with exactly that path, or else the only one whose path differs
 * just in its leading wrapper segments. Adapters trained on a multimodal wrapper (`model.language_model.layers...`), or on a model
 * saved without its head, have such paths.
 */

import type { BaseModule, TargetModule } from "../../model/blueprint.js";

const wrappers: ReadonlySet<string> = new Set(["model", "language_model", "text_model", "transformer"]);

export interface ResolvedModule {
  readonly path: string;
  /** null without a base: then the sizes come from the tensors. */
  readonly module: TargetModule | null;
}

/** Last segments of heads and embeddings in the common families, for adapters that are read without a base. */
const commonTables = ["lm_head", "embed_tokens", "wte", "wpe"];
/** What adapters of every family call the head. */
const headName = "lm_head";

const isTarget = ({ role }: BaseModule): boolean => role === undefined || role === "head";
const lastSegment = (path: string): string => path.slice(path.lastIndexOf(".") + 1);

/** The modules that take an adapter. */
export const targetModulesOf = (modules: readonly BaseModule[]): readonly TargetModule[] => modules.filter(isTarget);

export class TargetModuleIndex {
  readonly #byPath: ReadonlyMap<string, TargetModule> | null;
  /** By the path without wrapping segments; null where two modules share it. */
  readonly #byCore = new Map<string, TargetModule | null>();

  /** The head and the embeddings. A head that is not tied is a target module, too. */
  readonly #tables: readonly BaseModule[];
  /** Last segments of heads and embeddings: `all-linear` excludes them, and a file may hold all of their weights. */
  readonly tableNames: ReadonlySet<string>;

  /** null: there is no base, and every path resolves to itself. */
  constructor(modules: readonly BaseModule[] | null) {
    const linears = modules && targetModulesOf(modules);
    this.#byPath = linears && new Map(linears.map((module) => [module.path, module]));
    this.#tables = modules?.filter(({ role }) => role !== undefined) ?? [];
    this.tableNames = new Set([...commonTables, ...this.#tables.map(({ path }) => lastSegment(path))]);
    for (const module of linears ?? []) {
      const core = coreOf(module.path);
      this.#byCore.set(core, this.#byCore.has(core) ? null : module);
    }
  }

  resolve(path: string): ResolvedModule | null {
    if (!this.#byPath) return path === "" ? null : { path, module: null };
    const module = this.#byPath.get(path) ?? this.#byCore.get(coreOf(path)) ?? this.#headOf(path);
    return module ? { path: module.path, module } : null;
  }

  #headOf(path: string): TargetModule | undefined {
    return coreOf(path) === headName ? this.#tables.find(({ role }) => role === "head") : undefined;
  }

  /** Whether a path names the head, by the base's name for it or by `lm_head`. */
  isHead(path: string): boolean {
    const name = lastSegment(path);
    return (
      name === headName || this.#tables.some((table) => table.role !== "embedding" && lastSegment(table.path) === name)
    );
  }

  /** Every path that a config may name: the target modules, the embeddings, and the head even where it is tied. */
  modules(): readonly string[] {
    return [...new Set([...(this.#byPath?.keys() ?? []), ...this.#tables.map(({ path }) => path)])];
  }

  /** The wrapper segments that a path begins with, dots included. */
  wrapperOf(path: string): string {
    return path.slice(0, path.length - coreOf(path).length);
  }

  /** Each path's position in the base. */
  positions(): ReadonlyMap<string, number> {
    return new Map([...(this.#byPath?.keys() ?? [])].map((path, i) => [path, i]));
  }
}

function coreOf(path: string): string {
  const segments = path.split(".");
  const start = segments.findIndex((segment) => !wrappers.has(segment));
  return segments.slice(Math.max(start, 0)).join(".");
}
