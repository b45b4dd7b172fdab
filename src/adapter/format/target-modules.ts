/**
 * Finds the target module that a path in an adapter means: the one with exactly that path, or else the only one whose path differs
 * just in its leading wrapper segments. Adapters trained on a multimodal wrapper (`model.language_model.layers...`), or on a model
 * saved without its head, have such paths.
 */

import type { BaseModule, StoredWeight, TargetModule } from "../../model/blueprint.js";
import type { FixedBias, ModuleIndex, ModuleSpec, NamedModule, ResolvedModule, TokenTable } from "./base.js";
import { type Faults, quote } from "./faults.js";
import type { Feature } from "./features.js";
import { isMatrixDtype } from "./layout.js";
import type { TokenPlan } from "./module-plan.js";
import { taskFeatures } from "./task-index.js";

const wrappers: ReadonlySet<string> = new Set(["model", "language_model", "text_model", "transformer"]);

/** Last segments of heads and embeddings in the common families, for adapters that are read without a base. */
const commonTables = ["lm_head", "embed_tokens", "wte", "wpe"];
/** What adapters of every family call the head. */
const headName = "lm_head";

const isHead = ({ role }: BaseModule): boolean => role === "head" || role === "tied_head";
const isTarget = (module: BaseModule): boolean => module.role === undefined || isHead(module);
const lastSegment = (path: string): string => path.slice(path.lastIndexOf(".") + 1);

/** The modules that take an adapter. */
export const targetModulesOf = (modules: readonly BaseModule[]): readonly BaseModule[] => modules.filter(isTarget);

export class TargetModuleIndex implements ModuleIndex {
  readonly takes: ReadonlySet<Feature>;
  readonly #byPath: ReadonlyMap<string, BaseModule> | null;
  /** By the path without wrapping segments; null where two modules share it. */
  readonly #byCore = new Map<string, BaseModule | null>();

  /** The head, which is a target module, too, and the embeddings. */
  readonly #tables: readonly BaseModule[];
  /** The classification head, which adapters bring; undefined without a base. */
  readonly #score: BaseModule | undefined;
  readonly tableNames: ReadonlySet<string>;
  /** Normalizations whose factors and biases an adapter may replace. */
  readonly #norms: readonly BaseModule[];
  /** Other modules that take no adapter. */
  readonly #fixed: readonly BaseModule[];

  /** null: there is no base, and every path resolves to itself. */
  constructor(modules: readonly BaseModule[] | null) {
    const linears = modules && targetModulesOf(modules);
    // Without a base, an adapter may be one of a task model.
    this.takes = new Set(["lora_bias", "embedding", "tied_embedding", ...(modules ? [] : taskFeatures)] as const);
    this.#byPath = linears && new Map(linears.map((module) => [module.path, module]));
    this.#tables = modules?.filter(({ role = "norm" }) => !/^(score|norm|fixed)$/.test(role)) ?? [];
    this.#norms = modules?.filter(({ role }) => role === "norm") ?? [];
    this.#fixed = modules?.filter(({ role }) => role === "fixed") ?? [];
    this.#score = modules?.find(({ role }) => role === "score");
    this.tableNames = new Set([...commonTables, ...this.#tables.map(({ path }) => lastSegment(path))]);
    for (const module of linears ?? []) {
      const core = coreOf(module.path);
      this.#byCore.set(core, this.#byCore.has(core) ? null : module);
    }
  }

  resolve({ path, tensor, isTable }: NamedModule, faults: Faults): ResolvedModule | null {
    if (!this.#byPath && path !== "") return { path, module: null };
    if (this.#score && this.isOutput(path)) {
      if (isTable === null) return { path: this.#score.path, module: { ...this.#score, ...plain, isOutput: true } };
      faults.unsupported(`tensor ${quote(tensor)} adapts the classification head; save it whole, in modules_to_save`);
      return null;
    }
    if (isTable) return this.#table(path, tensor, faults);
    const norm = isTable === null ? withCore(this.#norms, path) : undefined;
    if (norm)
      return { path: norm.path, module: { ...norm, ...plain, isNorm: true, hasBias: norm.storedBias !== undefined } };
    const module = this.#target(path) ?? (isTable === null ? this.#fixedAt(path) : undefined);
    if (module) return { path: module.path, module: { ...module, ...plain, hasBias: module.storedBias !== undefined } };
    const what = isTable === null ? "layer with a bias" : "linear layer";
    faults.otherModule(path, `tensor ${quote(tensor)} matches no ${what} of the base`, `the base has no ${what}`);
    return null;
  }

  #table(path: string, tensor: string, faults: Faults): ResolvedModule | null {
    const found = this.#tables.find((table) => !isHead(table) && coreOf(table.path) === coreOf(path));
    if (found?.role === "embedding") return { path: found.path, module: { ...found, ...plain, kind: "table" } };
    if (found) {
      faults.unsupported(`tensor ${quote(tensor)} adapts the learned positions, which is not supported`);
    } else {
      const fault = `tensor ${quote(tensor)} matches no embedding of the base`;
      faults.otherModule(path, fault, "the base has no embedding");
    }
    return null;
  }

  tokenTable({ path, tensor }: Pick<NamedModule, "path" | "tensor">, faults: Faults): TokenTable | null {
    const head = this.#tables.find(isHead);
    if (!this.#byPath)
      return { path, sizes: null, inEmbeddings: lastSegment(path) !== headName, head: null, stored: null };
    const found = this.#tableAt(path);
    if (!found) {
      const fault = `tensor ${quote(tensor)} holds rows of neither the embeddings nor the head of the base`;
      faults.otherModule(path, fault, "the base has neither token embeddings nor a head there");
      return null;
    }
    if (found.role === "positions") {
      faults.unsupported(`tensor ${quote(tensor)} trains rows of the learned positions, which is not supported`);
      return null;
    }
    const isEmbedding = !isHead(found);
    const reader = isEmbedding && head?.role !== "tied_head" ? undefined : head;
    if (reader?.storedBias) {
      faults.unsupported(
        `tensor ${quote(tensor)} trains rows of ${reader.path}, which has a bias that PEFT leaves out until the adapter is merged`,
      );
    }
    if (found.stored && !isMatrixDtype(found.stored.dtype)) {
      faults.unsupported(
        `tensor ${quote(tensor)} trains rows of ${found.path}, which is ${found.stored.dtype} in the base; F32, F16 and BF16 are supported`,
      );
    }
    const sizes = [
      isEmbedding ? found.inFeatures : found.outFeatures,
      isEmbedding ? found.outFeatures : found.inFeatures,
    ] as const;
    return {
      path: found.path,
      sizes,
      inEmbeddings: isEmbedding,
      head: reader?.path ?? null,
      stored: found.stored ?? null,
    };
  }

  savedTable(path: string): Pick<TokenPlan, "path" | "inEmbeddings" | "inHead"> | null {
    const found = this.#byPath ? this.#tableAt(path) : undefined;
    if (!found?.stored || !isMatrixDtype(found.stored.dtype) || found.role === "positions") return null;
    // PEFT gives a saved module weights of its own, whatever was tied to it.
    return { path: found.path, inEmbeddings: !isHead(found), inHead: isHead(found) };
  }

  #target(path: string): BaseModule | undefined {
    return this.#byPath?.get(path) ?? this.#byCore.get(coreOf(path)) ?? this.#headOf(path);
  }

  has(path: string): boolean {
    return (
      this.#target(path) !== undefined ||
      this.isOutput(path) ||
      this.#tableAt(path) !== undefined ||
      this.#fixedAt(path) !== undefined
    );
  }

  takesWhole(path: string): boolean {
    return this.isOutput(path) || withCore(this.#norms, path) !== undefined;
  }

  #headOf(path: string): BaseModule | undefined {
    return coreOf(path) === headName ? this.#tables.find(isHead) : undefined;
  }

  isTiedHead(path: string): boolean {
    if (!this.#byPath) return lastSegment(path) === headName;
    return this.#tables.some((table) => table.role === "tied_head" && table.path === path);
  }

  /** Whether a path names the head, by the base's name for it or by `lm_head`. */
  #isHead(path: string): boolean {
    const name = lastSegment(path);
    return name === headName || this.#tables.some((table) => isHead(table) && lastSegment(table.path) === name);
  }

  storedOf(path: string, part: "weight" | "bias"): StoredWeight | "any" | null {
    return this.#byPath ? (this.#tableAt(path)?.[part === "weight" ? "stored" : "storedBias"] ?? null) : "any";
  }

  fixedBiasOf(path: string): FixedBias | null {
    const stored = this.#fixedAt(path)?.storedBias;
    return stored ? { stored, refusal: null } : null;
  }

  #fixedAt(path: string): BaseModule | undefined {
    return withCore(this.#fixed, path);
  }

  /** The head or the embeddings, if a path means them. */
  #tableAt(path: string): BaseModule | undefined {
    const core = coreOf(path);
    const namesHead = core === headName || this.#isHead(path);
    return this.#tables.find((table) => coreOf(table.path) === core || (namesHead && isHead(table)));
  }

  isOutput(path: string): boolean {
    return this.#score !== undefined && coreOf(path) === this.#score.path;
  }

  isLinear(path: string): boolean {
    return !this.tableNames.has(lastSegment(path)) && !this.isOutput(path);
  }

  /** The target modules, the embeddings, the head even where it is tied, and the classification head. */
  modules(): readonly string[] {
    const others = [...this.#tables, ...(this.#score ? [this.#score] : [])];
    return [...new Set([...(this.#byPath?.keys() ?? []), ...others.map(({ path }) => path)])];
  }

  spellingsOf(path: string): readonly string[] {
    return [path];
  }

  wrapperOf(path: string): string {
    return path.slice(0, path.length - coreOf(path).length);
  }

  positions(): ReadonlyMap<string, number> {
    return new Map(this.modules().map((path, i) => [path, i]));
  }
}

const plain: Omit<ModuleSpec, keyof TargetModule> = {
  kind: "linear",
  kernel: [],
  groups: 1,
  isNorm: false,
  hasBias: false,
  isOutput: false,
  hasFoldedNorm: false,
  knowsBias: false,
};

function withCore(modules: readonly BaseModule[], path: string): BaseModule | undefined {
  const core = coreOf(path);
  return modules.find((module) => coreOf(module.path) === core);
}

function coreOf(path: string): string {
  const segments = path.split(".");
  const start = segments.findIndex((segment) => !wrappers.has(segment));
  return segments.slice(Math.max(start, 0)).join(".");
}
