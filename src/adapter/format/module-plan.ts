/** A checked module of an adapter, as stored in its file. */

import type { StoredWeight } from "../../model/blueprint.js";
import type { ModuleKind } from "../../model/task/weighted-nodes.js";
import type { ExtraTensor } from "./methods/method.js";

export type MatrixDtype = "F32" | "F16" | "BF16";

/** A tensor of the file. */
export interface StoredArray {
  /** The name in the file. */
  readonly name: string;
  readonly dtype: MatrixDtype;
  readonly shape: readonly number[];
}

export interface StoredMatrix extends StoredArray {
  /** Of a convolution: A [r, in times kernel] and B [out, r / groups], in the order of the file. */
  readonly shape: readonly [number, number];
  /** mlx-lm's layout: A [in, r], B [r, out]. */
  readonly transposed: boolean;
  /** As PEFT has it. */
  readonly peftShape: readonly number[];
}

/** What the method has besides A and B. */
export interface StoredExtra extends StoredArray {
  readonly spec: ExtraTensor;
}

/** A target module with the rank and the scale of its adapter. */
export interface ScaledModule {
  /** Of the base's target module. */
  readonly path: string;
  readonly inFeatures: number;
  readonly outFeatures: number;
  readonly rank: number;
  readonly alpha: number;
  /** The factor of B A x. */
  readonly scale: number;
}

export interface ModulePlan extends ScaledModule {
  readonly kind: ModuleKind;
  /** Empty unless it is a convolution. */
  readonly kernel: readonly number[];
  readonly groups: number;
  readonly a: StoredMatrix;
  readonly b: StoredMatrix;
  readonly extra: StoredExtra | null;
  /** `lora_bias`: lora_B's own bias, which the scale multiplies. */
  readonly addedBias: StoredArray | null;
  /** Whether the base lacks it and it changes nothing: it belongs to the digest alone. */
  readonly isIdle: boolean;
}

/** A module's own tensors: all of them if it is saved whole, or a trained bias alone. */
export interface SavedPlan {
  readonly path: string;
  readonly kind: ModuleKind;
  readonly outFeatures: number;
  readonly weight: StoredArray | null;
  readonly bias: StoredArray | null;
  /** Whether it is a normalization. */
  readonly isNorm: boolean;
  /** Whether its bias can only be the base's, which changes nothing. */
  readonly isFixed: boolean;
}

/** A tensor that may be a copy of the base's own, which changes nothing. */
export interface CopyPlan extends StoredArray {
  readonly of: StoredWeight;
  /** "marked": a weight that PEFT marks as a copy. "weight": one that may be new. "bias": one that may be trained. */
  readonly as: "marked" | "weight" | "bias";
  /** Of embeddings or a head in `modules_to_save`: what their rows are if they are others. Default: they are refused. */
  readonly table?: Pick<TokenPlan, "path" | "inEmbeddings" | "inHead">;
  /** Of a bias: the fault if it is another one. Default: the feature is refused. */
  readonly ifDifferent?: string;
}

/** A bias that PEFT writes under two names. */
export interface RepeatPlan {
  readonly one: StoredArray;
  readonly other: StoredArray;
}

/** An adapter of a tied head that repeats the one of the embeddings, transposed: `ensure_weight_tying`. */
export interface TiePlan {
  readonly table: ModulePlan;
  readonly head: ModulePlan;
}

/** Trained rows of a table or of a head (`trainable_token_indices`), which take the place of the base's. */
export interface TokenPlan {
  /** Of the base's table, or of its head. */
  readonly path: string;
  /** [tokens, dim], in the order of the ids. */
  readonly rows: StoredArray;
  readonly ids: readonly number[];
  readonly inEmbeddings: boolean;
  /** Of a head that is tied to the embeddings, these are the same rows. */
  readonly inHead: boolean;
  /** Where the base's rows lie; null where nothing is loaded, or where the engine finds them. */
  readonly stored: StoredWeight | null;
}

export interface AdapterPlan {
  /** In the base's order, as `saved`. */
  readonly modules: readonly ModulePlan[];
  readonly saved: readonly SavedPlan[];
  readonly tokens: readonly TokenPlan[];
  readonly copies: readonly CopyPlan[];
  readonly ties: readonly TiePlan[];
  readonly repeats: readonly RepeatPlan[];
}
