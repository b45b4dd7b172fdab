/** The target modules of a task model by the paths that adapters use for them, in the spelling of transformers 4 or 5. */

import type { StoredWeight } from "../../model/blueprint.js";
import type { TaskTarget } from "../../model/task/adapter-targets.js";
import { currentSpelling, modulesAt } from "../../model/task/names.js";
import { isLookup, isSharedTable } from "../../model/task/shared-tables.js";
import { takesProduct } from "../../model/task/weighted-nodes.js";
import type { FixedBias, ModuleIndex, ModuleSpec, NamedModule, ResolvedModule, TokenTable } from "./base.js";
import { type Faults, quote, quoteList } from "./faults.js";
import type { Feature } from "./features.js";

/** What adapters of task models may have besides LoRA on linear layers. */
export const taskFeatures: ReadonlySet<Feature> = new Set(["embedding", "conv", "modules_to_save", "lora_bias"]);

export class TaskIndex implements ModuleIndex {
  readonly takes = taskFeatures;
  readonly isTiedHead = (): boolean => false;
  readonly tableNames: ReadonlySet<string> = new Set();
  readonly #targets: readonly TaskTarget[];
  /** With normalizations, which take no adapter. */
  readonly #wholes: readonly TaskTarget[];
  readonly #tables: readonly TaskTarget[];
  /** With those of kind "bias", too, which only trained biases mean. */
  readonly #all: readonly TaskTarget[];
  readonly #byPath: ReadonlyMap<string, TaskTarget>;
  readonly #known = new Map<string, readonly TaskTarget[]>();
  /** Modules that take no adapter and were reported. */
  readonly #reported = new Set<string>();

  constructor(targets: readonly TaskTarget[]) {
    this.#all = targets;
    this.#targets = targets.filter(({ kind }) => takesProduct(kind));
    this.#wholes = targets.filter(({ kind }) => kind !== "bias");
    this.#tables = targets.filter(({ kind }) => kind === "table");
    this.#byPath = new Map(targets.map((target) => [target.path, target]));
  }

  resolve(named: NamedModule, faults: Faults): ResolvedModule | null {
    const { path, tensor } = named;
    const isBias = named.ifUnknown !== undefined;
    const found = isBias ? this.#biasesAt(path) : this.#find(path, named.isTable);
    const [target, ...others] = found;
    if (!target) {
      if (named.ifUnknown) faults.unsupported(named.ifUnknown);
      else if (named.isTable === null && this.#refuseWhole(path, faults)) return null;
      else if (!this.#explainLookup(path, faults)) {
        const kind = wordOf(named.isTable);
        faults.otherModule(path, `tensor ${quote(tensor)} matches no ${kind} of the base`, `the base has no ${kind}`);
      }
      return null;
    }
    if (others.length > 0) {
      const paths = quoteList(found.map((each) => each.path));
      faults.invalid(`tensor ${quote(tensor)} may mean each of ${paths}; a path of one target module is allowed`);
      return null;
    }
    const refusal = refusalOf(target);
    const isCompared = isBias && target.storedBias !== null;
    if (refusal !== null && !isCompared && !this.#reported.has(target.path)) {
      this.#reported.add(target.path);
      faults.unsupported(`module ${target.path} ${refusal}`);
    }
    return { path: target.path, module: specOf(target) };
  }

  tokenTable({ path, tensor }: Pick<NamedModule, "path" | "tensor">, faults: Faults): TokenTable | null {
    const found = this.resolve({ path, tensor, isTable: true }, faults);
    const { module } = found ?? {};
    if (!module) return null;
    const { inFeatures: rows, outFeatures: dim } = module;
    const isTwin = (target: TaskTarget): boolean =>
      target.kind === "table"
        ? target.path !== module.path && target.inFeatures === rows && target.outFeatures === dim
        : target.kind === "linear" && target.outFeatures === rows && target.inFeatures === dim;
    const twin = this.#targets.find(isTwin);
    if (twin) {
      faults.unsupported(
        `tensor ${quote(tensor)} trains rows of ${module.path}, which ${twin.path} may share; PEFT then trains both, which is not supported over a task model`,
      );
      return null;
    }
    return { path: module.path, sizes: [rows, dim], inEmbeddings: true, head: null, stored: null };
  }

  /** Whether a path is of a module that takes a bias alone, whose fault is then reported. */
  #refuseWhole(path: string, faults: Faults): boolean {
    const clause = this.#biasesAt(path).find(({ biasAlone }) => biasAlone !== null)?.biasAlone ?? null;
    if (clause !== null && !this.#reported.has(path)) {
      this.#reported.add(path);
      faults.unsupported(
        `module ${path} takes no weight of an adapter, only a bias: ${clause}; take it out of modules_to_save`,
      );
    }
    return clause !== null;
  }

  /** Whether a path that the base lacks is of a table that encoder and decoder share, whose fault is then reported. */
  #explainLookup(path: string, faults: Faults): boolean {
    const isShared = isSharedTable(path);
    const fits = isShared ? isLookup : isSharedTable;
    if (!(isShared || isLookup(path)) || !this.#tables.some((table) => fits(table.path))) return false;
    if (!this.#reported.has(path)) {
      this.#reported.add(path);
      faults.unsupported(
        isShared
          ? `module ${path} changes nothing in PEFT: transformers looks tokens up through encoder.embed_tokens and decoder.embed_tokens, not through ${path}; train embed_tokens instead`
          : `module ${path} cannot be told from other lookups of the same table in this ONNX file; export it with the names of its modules, or as encoder_model and decoder_model`,
      );
    }
    return true;
  }

  #find(path: string, isTable: boolean | null, withBiases = false): readonly TaskTarget[] {
    const key = `${isTable} ${withBiases} ${path}`;
    const known = this.#known.get(key);
    if (known) return known;
    const among = withBiases
      ? this.#all
      : isTable === null
        ? this.#wholes
        : this.#targets.filter(({ kind }) => (kind === "table") === isTable);
    const found = modulesAt(among, path);
    this.#known.set(key, found);
    return found;
  }

  has(path: string): boolean {
    return this.#find(path, null).length > 0;
  }

  storedOf(path: string, part: "weight" | "bias"): StoredWeight | null {
    if (part === "bias") return this.#biasAt(path)?.storedBias ?? null;
    const [target, ...others] = this.#find(path, null);
    return others.length === 0 ? (target?.stored ?? null) : null;
  }

  fixedBiasOf(path: string): FixedBias | null {
    const target = this.#biasAt(path);
    const refusal = target && refusalOf(target);
    return refusal && target?.storedBias ? { stored: target.storedBias, refusal } : null;
  }

  /** The module whose trained bias a path names. Where an exporter wrote a layer's bias as a sum of its own, that. */
  #biasAt(path: string): TaskTarget | null {
    const found = this.#biasesAt(path);
    return found.length === 1 ? (found[0] ?? null) : null;
  }

  #biasesAt(path: string): readonly TaskTarget[] {
    const found = this.#find(path, null, true);
    const own = found.filter((target) => !takesProduct(target.kind) && isMeant(target, path));
    return own.length > 0 ? own : found.filter(({ kind }) => takesProduct(kind));
  }

  isOutput(path: string): boolean {
    return this.#byPath.get(path)?.isOutput === true;
  }

  /** Its tables are modules like others. */
  savedTable(): null {
    return null;
  }

  /** Those that it does not take are refused one by one. */
  takesWhole(): boolean {
    return true;
  }

  isLinear(path: string): boolean {
    return this.#find(path, false).some(({ kind }) => kind === "linear");
  }

  modules(): readonly string[] {
    return this.#targets.map(({ path }) => path);
  }

  spellingsOf(path: string): readonly string[] {
    const names = this.#byPath.get(path)?.names ?? [];
    return [...new Set([path, ...names.map((name) => name.path)].flatMap((name) => [name, currentSpelling(name)]))];
  }

  wrapperOf(): string {
    return "";
  }

  positions(): ReadonlyMap<string, number> {
    return new Map(this.#all.map(({ path }, i) => [path, i]));
  }
}

/** A name without a dot is the end of many paths. */
const isMeant = (target: TaskTarget, path: string): boolean =>
  [target.path, ...target.names.map((name) => name.path)].some((name) => name === path || name.includes("."));

/** A clause; null if the module takes adapters. */
function refusalOf({ foldedNorm, refusal }: TaskTarget): string | null {
  if (foldedNorm !== "unknown") return refusal;
  return "may hold a folded batch normalization whose factor is unknown, so an adapter on it could be wrong; put the model.safetensors of the export next to the base's config.json, or set foldedNorms to false in lorikeet.json if the model has no such normalization";
}

const wordOf = (isTable: boolean | null): string =>
  isTable === null ? "target module" : isTable ? "table" : "linear layer or convolution";

function specOf(target: TaskTarget): ModuleSpec {
  const { path, inFeatures, outFeatures, kind, kernel, groups, hasBias, isOutput, foldedNorm, storedBias } = target;
  return {
    ...{ path, inFeatures, outFeatures, kind, kernel, groups, hasBias, isOutput },
    isNorm: kind === "norm",
    hasFoldedNorm: foldedNorm === "measured",
    knowsBias: storedBias !== null,
  };
}
