/** Qwen 3.5 (Alibaba, 2026), and the text part of its multimodal checkpoints: linear attention by the gated delta rule in most layers, gated attention in the others. */

import { shown } from "../../base/json.js";
import type { Activation, Mixer, Norm } from "../blueprint.js";
import { readActivation } from "../config/activation.js";
import type { ConfigFields } from "../config/fields.js";
import { readRope } from "../config/rope.js";
import { readSizes } from "../config/sizes.js";
import type { Sizes } from "../types.js";
import type { Family, FamilyDecoder } from "./family.js";
import {
  attention,
  embedding,
  gatedFeedForward,
  layerPaths,
  linear,
  llamaNames,
  readHead,
  rmsNorm,
  sequentialLayer,
  sharedHeadNorm,
  sublayer,
} from "./parts.js";
import { qwenLearningRateExponent, qwenTokens } from "./qwen2.js";

const common = {
  reads: ["attention_bias"],
  refuses: [
    {
      keys: ["attn_output_gate"],
      isHarmless: (value: unknown) => value === true,
      why: "this family's attention is always gated",
    },
  ],
  tokens: qwenTokens,
  learningRateExponent: qwenLearningRateExponent,
};

export const qwen35Text: Family = {
  name: "qwen3_5_text",
  architectures: ["Qwen3_5ForCausalLM", "Qwen3_5TextModel"],
  ...common,
  names: { ...llamaNames, foreign: /^mtp\./ },
  read: (fields) => readQwen35(fields, "model"),
};

/** A multimodal checkpoint, of which only the text decoder is served. */
export const qwen35: Family = {
  name: "qwen3_5",
  architectures: ["Qwen3_5ForConditionalGeneration", "Qwen3_5Model"],
  ...common,
  names: {
    prefix: "model.language_model.",
    foreign: /^(mtp|(model\.)?visual)\./,
    buffers: /^model\.language_model\.rotary_emb\.inv_freq$/,
  },
  textConfig: { key: "text_config", type: "qwen3_5_text" },
  read: (fields) => readQwen35(fields, "model.language_model"),
};

function readQwen35(fields: ConfigFields, root: string): FamilyDecoder {
  const sizes = readSizes(fields, {
    hiddenSize: 4096,
    intermediateSize: 12288,
    layerCount: 32,
    headCount: 16,
    kvHeadCount: 4,
    headDim: 256,
    vocabSize: 248320,
    maxPositions: 32768,
  });
  const { hiddenSize } = sizes;
  const epsilon = fields.positive("rms_norm_eps", 1e-6);
  const activation = readActivation(fields, "hidden_act", "silu");
  const bias = fields.boolean("attention_bias", false);
  const isAttention = readAttentionLayers(fields, sizes.layerCount);
  const norm = (path: string, size = hiddenSize): Norm => ({ ...rmsNorm(path, size, epsilon), offset: 1 });
  const layers = layerPaths(sizes, `${root}.layers`).map((path, layer) => {
    const mixer = isAttention(layer)
      ? gatedAttention(`${path}.self_attn`, sizes, bias, norm)
      : readDelta(fields, `${path}.linear_attn`, hiddenSize, { activation, epsilon });
    return sequentialLayer(
      path,
      sublayer(mixer, norm(`${path}.input_layernorm`)),
      sublayer(gatedFeedForward(`${path}.mlp`, sizes, activation, false), norm(`${path}.post_attention_layernorm`)),
    );
  });
  const table = embedding(`${root}.embed_tokens`);
  // In text the positions of all three axes are equal.
  const rope = { ...sizes, partialFactor: 0.25, ignores: ["mrope_section", "mrope_interleaved"] };
  return {
    ...sizes,
    embedding: table,
    ropes: [readRope(fields, rope, ["full_attention"])],
    layers,
    finalNorm: norm(`${root}.norm`),
    head: readHead(fields, sizes, table, { tied: false }),
  };
}

function gatedAttention(path: string, sizes: Sizes, bias: boolean, norm: (path: string, size: number) => Norm): Mixer {
  const { hiddenSize, headCount, kvHeadCount, headDim } = sizes;
  const key = (name: string) => linear(`${path}.${name}`, hiddenSize, kvHeadCount * headDim, bias);
  return attention(sizes, {
    isGated: true,
    input: {
      kind: "separate",
      q: linear(`${path}.q_proj`, hiddenSize, 2 * headCount * headDim, bias),
      k: key("k_proj"),
      v: key("v_proj"),
      joined: `${path}.qkv_proj`,
    },
    queryNorm: sharedHeadNorm(norm(`${path}.q_norm`, headDim)),
    keyNorm: sharedHeadNorm(norm(`${path}.k_norm`, headDim)),
    output: linear(`${path}.o_proj`, headCount * headDim, hiddenSize, bias),
  });
}

function readDelta(
  fields: ConfigFields,
  path: string,
  hiddenSize: number,
  { activation, epsilon }: { readonly activation: Activation; readonly epsilon: number },
): Mixer {
  const keyHeads = fields.integer("linear_num_key_heads", 16);
  const valueHeads = fields.integer("linear_num_value_heads", 32);
  const keyDim = fields.integer("linear_key_head_dim", 128);
  const valueDim = fields.integer("linear_value_head_dim", 128);
  if (valueHeads % keyHeads !== 0) {
    fields.faults.invalid(
      `${fields.name("linear_num_key_heads")} is ${keyHeads}, but must divide linear_num_value_heads, ${valueHeads}`,
    );
  }
  const channels = 2 * keyHeads * keyDim + valueHeads * valueDim;
  const values = valueHeads * valueDim;
  const ofHeads = (name: string) => ({ ...linear(`${path}.${name}`, hiddenSize, valueHeads, false), precise: true });
  return {
    kind: "delta",
    keyHeads,
    valueHeads,
    keyDim,
    valueDim,
    input: linear(`${path}.in_proj_qkv`, hiddenSize, channels, false),
    filter: {
      path: `${path}.conv1d`,
      channels,
      width: fields.integer("linear_conv_kernel_dim", 4, { min: 2 }),
      bias: false,
    },
    activation,
    rate: ofHeads("in_proj_b"),
    decay: ofHeads("in_proj_a"),
    decayLog: `${path}.A_log`,
    decayBias: `${path}.dt_bias`,
    norm: rmsNorm(`${path}.norm`, valueDim, epsilon),
    gate: linear(`${path}.in_proj_z`, hiddenSize, values, false),
    output: linear(`${path}.out_proj`, values, hiddenSize, false),
  };
}

/** Which layers have full attention: those of `layer_types`, or else every `full_attention_interval`-th, by default every fourth. */
function readAttentionLayers(fields: ConfigFields, layerCount: number): (layer: number) => boolean {
  if (!fields.has("layer_types")) {
    const interval = fields.integer("full_attention_interval", 4);
    return (layer) => (layer + 1) % interval === 0;
  }
  const value = fields.raw("layer_types");
  const types: unknown[] = Array.isArray(value) ? value : [];
  if (types.length !== layerCount) {
    fields.faults.invalid(`${fields.name("layer_types")} is ${shown(value)}, but must list ${layerCount} layers`);
  }
  const odd = types.find((type) => type !== "linear_attention" && type !== "full_attention");
  if (odd !== undefined) {
    fields.faults.unsupported(
      `${fields.name("layer_types")} has ${shown(odd)}, which is not implemented; linear_attention and full_attention are`,
    );
  }
  return (layer) => types[layer] === "full_attention";
}
