/** A checkpoint and its decoder, as every room sees them: sizes, special tokens, and where each tensor lies. */

import type { Blueprint } from "./blueprint.js";

/** The sizes of a decoder that caches, samplers and reports read. */
export interface Sizes {
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly layerCount: number;
  readonly headCount: number;
  readonly kvHeadCount: number;
  readonly headDim: number;
  readonly vocabSize: number;
  /** The longest context of the model, in tokens. */
  readonly maxPositions: number;
}

/** A decoder's sizes, its blueprint, and its special tokens. */
export interface DecoderConfig extends Blueprint, Sizes {
  /** `model_type` of its config.json. */
  readonly family: string;
  /** Token ids that end a sequence: the union of config and generation_config. */
  readonly stopIds: readonly number[];
  readonly bosId: number | null;
  readonly padId: number | null;
  readonly torchDtype: string;
  /**
   * Only of classifiers, which have a layer `score` of this many outputs in place of a head. Their graphs take the embeddings for the
   * missing head, and no route asks for its logits.
   */
  readonly classifier?: { readonly outFeatures: number };
}

/** The location of a tensor's bytes: an absolute file without symbolic links, and a byte range. */
export interface TensorLocation {
  /** The canonical name. The file may spell it differently, so read by position. */
  readonly name: string;
  readonly file: string;
  readonly dtype: "F64" | "F32" | "F16" | "BF16" | "I64" | "I32" | "I16" | "I8" | "U8" | "BOOL";
  readonly shape: readonly number[];
  readonly offset: number;
  readonly byteLength: number;
}

/** An open checkpoint directory: its config and the location of every tensor. No weights are read. */
export interface Checkpoint {
  readonly directory: string;
  /** Its names: the folder's, the repository's in a Hugging Face cache, and the one in its config. */
  readonly names: readonly [string, ...string[]];
  readonly config: DecoderConfig;
  /** Canonical names (with the `transformer.` prefix for gpt2, without mask buffers); the head's weight is absent when tied. */
  readonly tensors: ReadonlyMap<string, TensorLocation>;
  /** Tensors of other models that the files hold, under their stored names. */
  readonly foreign: readonly TensorLocation[];
  readonly parameterCount: number;
  /** Sampling defaults of generation_config.json that the model's authors set: temperature, top_k, top_p, ... */
  readonly generationDefaults: Readonly<Record<string, number | boolean>>;
  /** SHA-256 over the config and the weights' headers, sizes and modification times: the key of cached results. */
  readonly fingerprint: string;
}
