/**
 * A decoder as data: embeddings, layers, norms and linear layers with their sizes and checkpoint names. A family (families/) creates it;
 * the decoder's graphs, target modules, expected tensors and the quantization plan read it.
 */

/** A linear layer that an adapter may target. `path` is the module path of the checkpoint: `model.layers.0.self_attn.q_proj`. */
export interface TargetModule {
  readonly path: string;
  readonly inFeatures: number;
  readonly outFeatures: number;
}

/**
 * A module of a base model that an adapter may name. A tied head takes adapters that change the logits alone. `score` is the classification
 * head that adapters may bring, of any number of outputs. `norm` is a normalization, whose factors and bias they may replace. `fixed` takes no adapter: a
 * normalization of heads, or a filter.
 */
export interface BaseModule extends TargetModule {
  /** Default: a linear layer of the decoder's layers. */
  readonly role?: "head" | "tied_head" | "embedding" | "positions" | "score" | "norm" | "fixed";
  /** What a norm adds to its weight. Default 0. */
  readonly offset?: number;
  /** Where its weight lies, to compare copies in an adapter's file with it. Default: copies are refused. */
  readonly stored?: StoredWeight;
  /** Where its bias lies, which an adapter's takes the place of. Default: it has none. */
  readonly storedBias?: StoredWeight;
}

/** A checkpoint's weight, in its file. */
export interface StoredWeight {
  readonly file: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly offset: number;
  readonly byteLength: number;
}

export interface Linear extends TargetModule {
  readonly bias: boolean;
  /** Whether its weight is stored [in, out], as GPT-2's Conv1D, instead of [out, in]. */
  readonly transposed: boolean;
  /** Its few outputs have a large effect, so its weight is never quantized. */
  readonly precise?: boolean;
}

/** RMSNorm (arXiv:1910.07467) or LayerNorm (arXiv:1607.06450) of `size` features. */
export interface Norm {
  readonly kind: "rms" | "layer";
  readonly path: string;
  readonly size: number;
  readonly epsilon: number;
  readonly bias: boolean;
  /** Features are multiplied by `offset` + weight; 1 for Gemma, whose weights start at 0. */
  readonly offset: 0 | 1;
}

export type RopeScaling =
  | { readonly kind: "default" }
  | { readonly kind: "linear"; readonly factor: number }
  | {
      readonly kind: "llama3";
      readonly factor: number;
      readonly lowFreqFactor: number;
      readonly highFreqFactor: number;
      readonly originalMaxPositions: number;
    }
  /** NTK-aware: beyond the original length the base grows with the length of the text. */
  | { readonly kind: "dynamic"; readonly factor: number; readonly originalMaxPositions: number }
  /** arXiv:2309.00071 */
  | {
      readonly kind: "yarn";
      readonly factor: number;
      readonly originalMaxPositions: number;
      readonly betaFast: number;
      readonly betaSlow: number;
      readonly truncate: boolean;
      /** Multiplies cos and sin. */
      readonly attentionFactor: number;
    }
  /** arXiv:2402.13753: frequencies are divided by the long factors in texts beyond the original length, else by the short ones. */
  | {
      readonly kind: "longrope";
      readonly originalMaxPositions: number;
      readonly shortFactors: readonly number[]; // [rotaryDim / 2]
      readonly longFactors: readonly number[]; // [rotaryDim / 2]
      /** Multiplies cos and sin. */
      readonly attentionFactor: number;
      /** A text that outgrows the original length is recomputed from its start; otherwise cached keys stay unchanged. */
      readonly rereads: boolean;
    };

/** Rotary positions (RoFormer, arXiv:2104.09864). */
export interface Rope {
  readonly theta: number;
  /** Width of the rotated part of a head: `headDim` times `partial_rotary_factor`. */
  readonly rotaryDim: number;
  readonly scaling: RopeScaling;
}

/**
 * How queries or keys are normalized before rotation: one norm of `headDim` for every head (`shared`), one over all concatenated
 * heads (`whole`), or one of `headDim` for each head (`each`; they differ in their weights only).
 */
export type HeadNorm =
  | { readonly scope: "shared"; readonly norm: Norm }
  | { readonly scope: "whole"; readonly norm: Norm }
  | { readonly scope: "each"; readonly norms: readonly Norm[] };

/**
 * Where queries, keys and values come from: three layers, or one whose outputs are concatenated, in the `order` of all queries, all keys
 * and all values (`kind`) or of each head's query, key and value (`head`; as many key heads as query heads). `joined` is the path under
 * which the weights of the three may be joined into one.
 */
export type QueryKeyValue =
  | { readonly kind: "separate"; readonly q: Linear; readonly k: Linear; readonly v: Linear; readonly joined: string }
  | { readonly kind: "packed"; readonly qkv: Linear; readonly order: "kind" | "head" };

/** Queries are scaled up with their position beyond the original length, as in Llama 4. */
export interface QueryGrowth {
  readonly beta: number;
  readonly originalMaxPositions: number;
}

export interface Attention {
  readonly kind: "attention";
  readonly input: QueryKeyValue;
  /** The query layer gives each head a query and then a gate: sigmoid(gate) multiplies the head's output. */
  readonly isGated: boolean;
  readonly queryNorm: HeadNorm | null;
  readonly keyNorm: HeadNorm | null;
  readonly output: Linear;
  /** Multiplies q·k: 1/sqrt(headDim) in most families. */
  readonly scale: number;
  /** null: queries are not scaled by position. */
  readonly queryGrowth: QueryGrowth | null;
  /** Scores s become cap · tanh(s / cap). */
  readonly softcap: number | null;
  /** Tokens that a query sees, including its own; null: all up to it. */
  readonly window: number | null;
  /** Index into the decoder's `ropes`; null: no rotary positions. */
  readonly rope: number | null;
}

/** A causal depthwise convolution over a token and the `width` - 1 before it. Its weight is [channels, 1, width]. */
export interface CausalFilter {
  readonly path: string;
  readonly channels: number;
  readonly width: number;
  readonly bias: boolean;
}

/** A gated short convolution: output(c · filter(b · x)), where `input` gives b, c and x, concatenated. */
export interface ShortConvolution {
  readonly kind: "convolution";
  readonly input: Linear;
  readonly filter: CausalFilter;
  readonly output: Linear;
}

/**
 * Linear attention by the gated delta rule (arXiv:2412.06464). Each value head has a memory [keyDim, valueDim]. A token lets it decay,
 * moves what it stores under the token's key towards the token's value, and reads it with the token's query.
 */
export interface GatedDelta {
  readonly kind: "delta";
  readonly keyHeads: number;
  readonly valueHeads: number;
  readonly keyDim: number;
  readonly valueDim: number;
  /** Queries and keys of all key heads and values of all value heads, concatenated; followed by `filter` and `activation`. */
  readonly input: Linear;
  readonly filter: CausalFilter;
  readonly activation: Activation;
  /** The correction's rate of each value head: sigmoid(rate(x)). */
  readonly rate: Linear;
  /** The log decay of each value head: -exp(decayLog) · softplus(decay(x) + decayBias). The two are names of tensors. */
  readonly decay: Linear;
  readonly decayLog: string;
  readonly decayBias: string;
  /** The output is normalized, head by head, and multiplied by activation(gate(x)). */
  readonly norm: Norm;
  readonly gate: Linear;
  readonly output: Linear;
}

/** The sublayer that passes information between tokens. */
export type Mixer = Attention | ShortConvolution | GatedDelta;

export type Activation = "silu" | "gelu" | "gelu_tanh";

/** down(activation(gate(x)) · up(x)); `packed`: gate and up are one layer (`joined` as for q, k and v). `plain`: down(activation(up(x))). */
export type FeedForward =
  | {
      readonly kind: "gated";
      readonly activation: Activation;
      readonly gate: Linear;
      readonly up: Linear;
      readonly joined: string;
      readonly down: Linear;
    }
  | { readonly kind: "packed"; readonly activation: Activation; readonly gateUp: Linear; readonly down: Linear }
  | { readonly kind: "plain"; readonly activation: Activation; readonly up: Linear; readonly down: Linear };

/** A sublayer with the norms around it: scale · output(body(input(x))) is added to the residual stream. */
export interface Sublayer<T> {
  readonly input: Norm | null;
  readonly body: T;
  readonly output: Norm | null;
  /** 1 in most families. */
  readonly scale: number;
}

export interface Layer {
  /** Module path, such as `model.layers.0`. */
  readonly path: string;
  readonly mixer: Sublayer<Mixer>;
  readonly feedForward: Sublayer<FeedForward>;
  /** Both sublayers read the residual stream before either adds to it; they may share a norm. */
  readonly isParallel: boolean;
}

export interface Embedding {
  readonly path: string;
  /** Multiplies the embeddings: sqrt(hiddenSize) for Gemma, else 1. */
  readonly scale: number;
  /** Learned positions, added to the embeddings. */
  readonly positions: { readonly path: string; readonly count: number } | null;
}

export interface Head {
  /** The head's own module path, even if it is tied: `lm_head` in most families. */
  readonly path: string;
  /** The head's own layer or, if `tied`, the embedding table under its name. */
  readonly linear: Linear;
  readonly tied: boolean;
  /** Whether the logits have a bias, under the head's own path even if it is tied. */
  readonly bias: boolean;
  /** Multiplies the logits, before the softcap: 1 in most families. */
  readonly scale: number;
  /** Logits z become cap · tanh(z / cap). */
  readonly softcap: number | null;
}

export interface Blueprint {
  readonly embedding: Embedding;
  readonly ropes: readonly Rope[];
  readonly layers: readonly Layer[];
  readonly finalNorm: Norm;
  readonly head: Head;
}
