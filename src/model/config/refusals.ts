/**
 * Config keys that would change what the decoder computes and that it does not implement. transformers ignores most of them in
 * these families. But a checkpoint that sets them was written for another program, so it is refused by the key's name.
 */

import { isObject, shown } from "../../base/json.js";
import type { ConfigFields } from "./fields.js";

export interface Refusal {
  readonly keys: readonly string[];
  /** Whether a value changes nothing. */
  readonly isHarmless: (value: unknown) => boolean;
  readonly why: string;
}

const isOff = (value: unknown): boolean => value === false || value === 0 || value === "";
const isOne = (value: unknown): boolean => value === 1;
const isEmpty = (value: unknown): boolean =>
  isOff(value) || (Array.isArray(value) ? value.length === 0 : isObject(value) && Object.keys(value).length === 0);

const refusals: readonly Refusal[] = [
  {
    keys: ["quantization_config", "compression_config"],
    isHarmless: () => false,
    why: "weights that another program quantized are not read; use the unquantized checkpoint",
  },
  {
    keys: [
      "num_experts",
      "num_local_experts",
      "n_routed_experts",
      "num_experts_per_tok",
      "moe_intermediate_size",
      "moe_layer_freq",
      "enable_moe_block",
    ],
    isHarmless: isOff,
    why: "mixtures of experts are not implemented",
  },
  {
    keys: ["attention_bias"],
    isHarmless: isOff,
    why: "this family's attention has no such biases",
  },
  { keys: ["mlp_bias"], isHarmless: isOff, why: "this family's feed-forward has no biases" },
  {
    keys: ["attn_logit_softcapping", "final_logit_softcapping", "query_pre_attn_scalar"],
    isHarmless: () => false,
    why: "this family does not have it",
  },
  {
    keys: ["sliding_window"],
    isHarmless: () => false,
    why: "this family has no sliding windows",
  },
  {
    keys: [
      "scale_attn_by_inverse_layer_idx",
      "add_cross_attention",
      "is_encoder_decoder",
      "use_bidirectional_attention",
    ],
    isHarmless: isOff,
    why: "it is not implemented",
  },
  { keys: ["is_causal"], isHarmless: (value) => value === true, why: "only causal attention is implemented" },
  {
    keys: [
      "rope_interleaved",
      "rope_local_base_freq",
      "no_rope_layers",
      "no_rope_layer_interval",
      "attention_chunk_size",
      "cross_attention_layers",
      "use_alibi",
      "alibi",
      "clip_qkv",
      "q_lora_rank",
      "kv_lora_rank",
      "sliding_window_pattern",
    ],
    isHarmless: isEmpty,
    why: "this form of attention is not implemented",
  },
  {
    keys: ["qk_norm", "use_qk_norm", "qk_layernorm", "use_qk_layernorm"],
    isHarmless: isOff,
    why: "this family does not normalize queries and keys",
  },
  {
    keys: ["use_parallel_residual", "parallel_residual", "parallel_attn"],
    isHarmless: isOff,
    why: "this family's sublayers run one after the other",
  },
  {
    keys: [
      "logits_scaling",
      "logit_scale",
      "embedding_multiplier",
      "residual_multiplier",
      "attention_multiplier",
      "scale_emb",
      "scale_depth",
      "rotary_pct",
      "rotary_emb_fraction",
    ],
    isHarmless: isOne,
    why: "this family does not have this scaling",
  },
  {
    keys: [
      "vision_config",
      "text_config",
      "audio_config",
      "per_layer_config",
      "pruned_heads",
      "num_nextn_predict_layers",
    ],
    isHarmless: isEmpty,
    why: "it is not implemented",
  },
];

/**
 * Adds a fault for every key that requires something not implemented: the keys refused in all families, except those that this
 * family `reads`, and those that it `refuses` itself.
 */
export function refuseForeignKeys(
  fields: ConfigFields,
  { reads = [], refuses = [] }: { readonly reads?: readonly string[]; readonly refuses?: readonly Refusal[] },
): void {
  const own = new Set(reads);
  for (const { keys, isHarmless, why } of [...refusals, ...refuses]) {
    for (const key of keys) {
      if (own.has(key) || !fields.has(key) || isHarmless(fields.raw(key))) continue;
      fields.faults.unsupported(`${fields.name(key)} is ${shown(summary(fields.raw(key)))}: ${why}`);
    }
  }
}

/** Shows only the method of a quantization config. */
function summary(value: unknown): unknown {
  return isObject(value) && typeof value.quant_method === "string" ? value.quant_method : value;
}
