/** Named model shapes for benchmarks, as config.json of real models. No weights. */

import type { Json } from "../base/json.js";

const smolLm2: Json = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  hidden_act: "silu",
  head_dim: 64,
  max_position_embeddings: 8192,
  rms_norm_eps: 1e-5,
  rope_parameters: { rope_type: "default", rope_theta: 100000 },
  tie_word_embeddings: true,
  vocab_size: 49152,
  bos_token_id: 0,
  eos_token_id: 0,
};

/** Llama 3's, but for sizes and the rope's factor. */
const llama3: Json = {
  ...smolLm2,
  max_position_embeddings: 131072,
  vocab_size: 128256,
  bos_token_id: 128000,
  eos_token_id: 128001,
};

const llama3Rope = (factor: number): Json => ({
  rope_type: "llama3",
  rope_theta: 500000,
  factor,
  low_freq_factor: 1,
  high_freq_factor: 4,
  original_max_position_embeddings: 8192,
});

/** SmolLM2-135M, SmolLM2-360M, Llama-3.2-1B and Llama-3.1-8B. */
export const modelShapes = {
  "135M": {
    ...smolLm2,
    hidden_size: 576,
    intermediate_size: 1536,
    num_hidden_layers: 30,
    num_attention_heads: 9,
    num_key_value_heads: 3,
  },
  "360M": {
    ...smolLm2,
    hidden_size: 960,
    intermediate_size: 2560,
    num_hidden_layers: 32,
    num_attention_heads: 15,
    num_key_value_heads: 5,
  },
  "1B": {
    ...llama3,
    hidden_size: 2048,
    intermediate_size: 8192,
    num_hidden_layers: 16,
    num_attention_heads: 32,
    num_key_value_heads: 8,
    rope_parameters: llama3Rope(32),
  },
  "8B": {
    ...llama3,
    hidden_size: 4096,
    intermediate_size: 14336,
    num_hidden_layers: 32,
    num_attention_heads: 32,
    num_key_value_heads: 8,
    head_dim: 128,
    rope_parameters: llama3Rope(8),
    tie_word_embeddings: false,
  },
} as const satisfies Record<string, Json>;

export type ShapeName = keyof typeof modelShapes;

export function isShapeName(value: string): value is ShapeName {
  return Object.hasOwn(modelShapes, value);
}
