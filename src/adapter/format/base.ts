/** What an adapter is checked against: the modules of a decoder, the target modules of a task model, or nothing. */

import type { BaseModule, StoredWeight, TargetModule } from "../../model/blueprint.js";
import type { TaskTarget } from "../../model/task/adapter-targets.js";
import type { ModuleKind } from "../../model/task/weighted-nodes.js";
import type { Faults } from "./faults.js";
import type { Feature } from "./features.js";
import type { TokenPlan } from "./module-plan.js";

export interface TaskBase {
  readonly targets: readonly TaskTarget[];
  /** By Hugging Face's name. Absent: it is not known. */
  readonly task?: string;
}

export type AdapterBase = readonly BaseModule[] | TaskBase;

/** What a base says about one of its modules. */
export interface ModuleSpec extends TargetModule {
  readonly kind: ModuleKind;
  /** Whether it is a normalization: its weight has one axis. */
  readonly isNorm: boolean;
  readonly kernel: readonly number[];
  readonly groups: number;
  readonly hasBias: boolean;
  /** Whether it may have another number of outputs when it is saved whole. */
  readonly isOutput: boolean;
  /** Whether a normalization was folded into it. */
  readonly hasFoldedNorm: boolean;
  /** Whether the checkpoint has its bias. */
  readonly knowsBias: boolean;
}

export interface ResolvedModule {
  readonly path: string;
  /** null without a base: then the sizes come from the tensors. */
  readonly module: ModuleSpec | null;
}

/** A path that a tensor of the file names. */
export interface NamedModule {
  readonly path: string;
  /** The tensor's name. */
  readonly tensor: string;
  /** Of the modules that share the path, the table or another. null: whichever there is. */
  readonly isTable: boolean | null;
  /** Of a trained bias: the fault if the base lacks the module. */
  readonly ifUnknown?: string;
}

export interface FixedBias {
  readonly stored: StoredWeight;
  /** A clause that says why; null: no decoder takes another there. */
  readonly refusal: string | null;
}

/** A table or a head whose rows of single tokens an adapter may train. */
export interface TokenTable {
  readonly path: string;
  /** The number of tokens, and of values for each; null without a base. */
  readonly sizes: readonly [number, number] | null;
  /** Whether tokens of a text are looked up in it. */
  readonly inEmbeddings: boolean;
  /** The path of the head that reads it; null: none does. */
  readonly head: string | null;
  readonly stored: StoredWeight | null;
}

/** The modules of a base by the paths that adapters use for them. */
export interface ModuleIndex {
  /** Features of PEFT that the base takes besides LoRA on linear layers. */
  readonly takes: ReadonlySet<Feature>;
  /** Last segments of heads and embeddings, whose full weights a file may hold. */
  readonly tableNames: ReadonlySet<string>;
  /** The module that a path means; null, with a fault, if there is not exactly one. */
  resolve(named: NamedModule, faults: Faults): ResolvedModule | null;
  /** Whether the base has a module of that path, of any kind. */
  has(path: string): boolean;
  /** The table or the head that trained rows belong to; null, with a fault, if there is none, or if PEFT computes something else with them. */
  tokenTable(named: Pick<NamedModule, "path" | "tensor">, faults: Faults): TokenTable | null;
  /** What of a decoder a table or a head is that an adapter saves whole; null: neither, or a table of positions. */
  savedTable(path: string): Pick<TokenPlan, "path" | "inEmbeddings" | "inHead"> | null;
  /** Where a tensor of a module lies that a file may hold a copy of; null: the base has no such module. "any": there is no base. */
  storedOf(path: string, part: "weight" | "bias"): StoredWeight | "any" | null;
  /** Where the bias of a module lies that takes no other than the base's; null: it is another module, or there is no base. */
  fixedBiasOf(path: string): FixedBias | null;
  /** Whether a path of the base is a head that shares its weights with the embeddings. */
  isTiedHead(path: string): boolean;
  /** Whether the outputs of a path of the base are the model's own. */
  isOutput(path: string): boolean;
  /** Whether an adapter may save a module of that path whole, though the base does not take all of them. */
  takesWhole(path: string): boolean;
  /** Whether `all-linear` includes a path of the trained model. */
  isLinear(path: string): boolean;
  /** Every path that a config may name. */
  modules(): readonly string[];
  /** How the trained model may spell a path of the base. */
  spellingsOf(path: string): readonly string[];
  /** The wrapper segments that a path begins with, dots included. */
  wrapperOf(path: string): string;
  /** Each path's position in the base. */
  positions(): ReadonlyMap<string, number>;
}
