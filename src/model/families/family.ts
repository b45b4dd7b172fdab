/** What a family of decoders is made of: how its config.json is read, what it refuses, and how its checkpoints name tensors. */

import type { Blueprint } from "../blueprint.js";
import type { ConfigFields } from "../config/fields.js";
import type { Refusal } from "../config/refusals.js";
import type { TokenDefaults } from "../config/tokens.js";
import type { Sizes } from "../types.js";

/** A decoder's sizes and its layers as data. */
export type FamilyDecoder = Sizes & Blueprint;

export interface CheckpointNames {
  /** Begins every canonical name but the head's; files that were saved from the bare decoder lack it. */
  readonly prefix: string;
  /** The head's path: `lm_head` unless stated. */
  readonly head?: string;
  /** Other spellings: what stored names may begin with, each with the canonical beginning. */
  readonly spellings?: readonly (readonly [string, string])[];
  /** Stored tensors that do not belong to the decoder; they are skipped. */
  readonly foreign?: RegExp;
  /** Buffers that the model computes itself, such as rotary frequencies: canonical names that are skipped. */
  readonly buffers: RegExp;
}

export interface Family {
  /** `model_type` in config.json. */
  readonly name: string;
  /** The decoder with its head, then the bare decoder, which is enough when the head is tied. */
  readonly architectures: readonly [string, string];
  /** Keys that the family spells differently: its own spelling by the common one. transformers takes either. */
  readonly synonyms?: Readonly<Record<string, string>>;
  /** Of these common keys the family's own spelling counts where both are there; else they must agree. */
  readonly overridden?: readonly string[];
  /** Keys that the family reads and that are refused elsewhere (config/refusals.ts). */
  readonly reads?: readonly string[];
  /** Keys that only this family refuses. */
  readonly refuses?: readonly Refusal[];
  /**
   * The decoder's own config in a config.json of several models: its key, and its `model_type`. Of the outer one count the
   * special tokens, the dtype and whether the head is tied.
   */
  readonly textConfig?: { readonly key: string; readonly type: string };
  readonly tokens: TokenDefaults;
  readonly names: CheckpointNames;
  /** How fast the best learning rate falls with the width (see train/optimizer/default-rate.ts); Llama's unless stated. */
  readonly learningRateExponent?: number;
  /** Reads config.json; defaults are those of transformers 5.18. Faults go to `fields.faults`. */
  read(fields: ConfigFields): FamilyDecoder;
}
