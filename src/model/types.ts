/** What a decoder is, in numbers: the one description that config readers produce and the decoder graph is built from. */

export type Family = "llama" | "mistral" | "qwen2" | "qwen3" | "gemma2" | "phi3" | "gpt2";

export type RopeScaling =
  | { readonly kind: "default" }
  | { readonly kind: "linear"; readonly factor: number }
  | {
      readonly kind: "llama3";
      readonly factor: number;
      readonly lowFreqFactor: number;
      readonly highFreqFactor: number;
      readonly originalMaxPositions: number;
    };

export interface Rope {
  readonly theta: number;
  /** Width of the rotated part of a head; equal to `headDim` unless `partial_rotary_factor` is below one. */
  readonly rotaryDim: number;
  readonly scaling: RopeScaling;
}

export interface DecoderConfig {
  readonly family: Family;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly layerCount: number;
  readonly headCount: number;
  readonly kvHeadCount: number;
  readonly headDim: number;
  readonly vocabSize: number;
  /** The longest context the model was made for, in tokens. */
  readonly maxPositions: number;
  readonly norm: { readonly kind: "rms" | "layer"; readonly epsilon: number };
  readonly activation: "silu" | "gelu" | "gelu_tanh";
  /** null: learned positions (gpt2). */
  readonly rope: Rope | null;
  /** Multiplies q·k: 1/sqrt(headDim), or 1/sqrt(query_pre_attn_scalar) for gemma2. */
  readonly attentionScale: number;
  readonly attentionSoftcap: number | null;
  /** One entry a layer: the sliding window in tokens, or null for full attention. */
  readonly windows: readonly (number | null)[];
  readonly qkNorm: boolean;
  readonly bias: { readonly qkv: boolean; readonly o: boolean; readonly mlp: boolean };
  /** gemma2: weights are stored as w where 1 + w is meant, and each sublayer's output is normalised too. */
  readonly gemmaNorms: boolean;
  /** Multiplies the embeddings: sqrt(hiddenSize) for gemma2, else 1. */
  readonly embeddingScale: number;
  readonly finalSoftcap: number | null;
  readonly tiedHead: boolean;
  /** Token ids that end a sequence: the union of config and generation_config. */
  readonly stopIds: readonly number[];
  readonly bosId: number | null;
  readonly padId: number | null;
  readonly torchDtype: string;
}

/** A linear layer that an adapter may target. `path` is the module path as in the checkpoint: `model.layers.0.self_attn.q_proj`. */
export interface LinearSite {
  readonly path: string;
  readonly inFeatures: number;
  readonly outFeatures: number;
}

/** Where one tensor's bytes lie: an absolute, symlink-free file and a byte range. */
export interface TensorLocation {
  /** The canonical name; the file itself may spell it otherwise, so read by place. */
  readonly name: string;
  readonly file: string;
  readonly dtype: "F64" | "F32" | "F16" | "BF16" | "I64" | "I32" | "I16" | "I8" | "U8" | "BOOL";
  readonly shape: readonly number[];
  readonly offset: number;
  readonly byteLength: number;
}

/** A checkpoint directory, opened: its config, and every tensor's place. No weight is read. */
export interface Checkpoint {
  readonly directory: string;
  /** What it may be called: its folder's name, its repository's in a Hugging Face cache, and the name in its config. */
  readonly names: readonly [string, ...string[]];
  readonly config: DecoderConfig;
  /** Canonical names (with the `transformer.` prefix for gpt2, without mask buffers); `lm_head.weight` is absent when tied. */
  readonly tensors: ReadonlyMap<string, TensorLocation>;
  readonly parameterCount: number;
  /** Sampling defaults of generation_config.json that the model's authors set: temperature, top_k, top_p, ... */
  readonly generationDefaults: Readonly<Record<string, number | boolean>>;
  /** SHA-256 over config and weights' headers, sizes and modification times: what was found out about it is kept under this. */
  readonly fingerprint: string;
}
