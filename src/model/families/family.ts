/** A family of decoders: how its config.json is read, what it refuses, and how its checkpoints name tensors. */

import type { Blueprint } from "../blueprint.js";
import type { ConfigFields } from "../config/fields.js";
import type { Refusal } from "../config/refusals.js";
import type { TokenDefaults } from "../config/tokens.js";
import type { Sizes } from "../types.js";

/** A decoder's sizes and its layers, as data. */
export type FamilyDecoder = Sizes & Blueprint;

export interface CheckpointNames {
  /** The prefix of every canonical name but the head's. Files saved from the bare decoder lack it. */
  readonly prefix: string;
  /** The head's path. Default: `lm_head`. */
  readonly head?: string;
  /** Other spellings: prefixes of stored names, each with the canonical prefix. */
  readonly spellings?: readonly (readonly [string, string])[];
  /** Stored tensors that do not belong to the decoder; they are skipped. */
  readonly foreign?: RegExp;
  /** Canonical names of buffers that the model computes itself, such as rotary frequencies; they are skipped. */
  readonly buffers: RegExp;
}

export interface Family {
  /** `model_type` in config.json. */
  readonly name: string;
  /** The decoder with its head, then the bare decoder, which suffices if the head is tied. */
  readonly architectures: readonly [string, string];
  /** Keys that the family spells differently: its own spelling by the common one. transformers accepts both. */
  readonly synonyms?: Readonly<Record<string, string>>;
  /** Common keys that the family's own spelling overrides. Two spellings of any other key must agree. */
  readonly overridden?: readonly string[];
  /** Keys that this family reads and other families refuse (config/refusals.ts). */
  readonly reads?: readonly string[];
  /** Keys that only this family refuses. */
  readonly refuses?: readonly Refusal[];
  /**
   * The decoder's own config in a config.json of several models: its key, and its `model_type`. The outer config gives the special
   * tokens, the dtype and whether the head is tied.
   */
  readonly textConfig?: { readonly key: string; readonly type: string };
  readonly tokens: TokenDefaults;
  readonly names: CheckpointNames;
  /** How fast the best learning rate falls with the width (see train/optimizer/default-rate.ts). Default: as for Llama. */
  readonly learningRateExponent?: number;
  /** Reads config.json. Defaults are those of transformers 5.18. Faults go to `fields.faults`. */
  read(fields: ConfigFields): FamilyDecoder;
}
