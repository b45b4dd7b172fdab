/** Gemma 3 (arXiv:2503.19786), and the text part of its multimodal checkpoints: Gemma 2 with normalized queries and keys, and a rope per layer type. */

import { at } from "../../base/list.js";
import type { HeadNorm, Norm } from "../blueprint.js";
import { readActivation } from "../config/activation.js";
import type { ConfigFields } from "../config/fields.js";
import { readRopes } from "../config/rope.js";
import { readSizes } from "../config/sizes.js";
import { readWindows } from "../config/windows.js";
import type { Family, FamilyDecoder } from "./family.js";
import {
  embedding,
  gatedFeedForward,
  layerPaths,
  llamaNames,
  readHead,
  rmsNorm,
  separateAttention,
  sequentialLayer,
  sharedHeadNorm,
  sublayer,
} from "./parts.js";

const reads = [
  "attention_bias",
  "sliding_window",
  "sliding_window_pattern",
  "rope_local_base_freq",
  "final_logit_softcapping",
  "query_pre_attn_scalar",
];
const tokens = { eosIds: [1], bosId: 2, padId: 0 };

export const gemma3Text: Family = {
  name: "gemma3_text",
  architectures: ["Gemma3ForCausalLM", "Gemma3TextModel"],
  reads,
  tokens,
  names: llamaNames,
  read: (fields) => readGemma3(fields, "model"),
};

/** A multimodal checkpoint, of which only the text decoder is served. */
export const gemma3: Family = {
  name: "gemma3",
  architectures: ["Gemma3ForConditionalGeneration", "Gemma3Model"],
  reads,
  tokens,
  names: {
    prefix: "model.language_model.",
    spellings: [
      ["language_model.model.", "model.language_model."],
      ["language_model.lm_head.", "lm_head."],
    ],
    foreign: /^(model\.)?(vision_tower|multi_modal_projector)\./,
    buffers: /^model\.language_model\.(layers\.\d+\.self_attn\.)?rotary_emb(_local)?\.inv_freq$/,
  },
  textConfig: { key: "text_config", type: gemma3Text.name },
  read: (fields) => readGemma3(fields, "model.language_model"),
};

function readGemma3(fields: ConfigFields, root: string): FamilyDecoder {
  const sizes = readSizes(fields, {
    hiddenSize: 2304,
    intermediateSize: 9216,
    layerCount: 26,
    headCount: 8,
    kvHeadCount: 4,
    headDim: 256,
    vocabSize: 262208,
    maxPositions: 131072,
  });
  const pattern = fields.integer("sliding_window_pattern", 6);
  const slides = (layer: number): boolean => (layer + 1) % pattern !== 0;
  const { types, windows } = readWindows(fields, { layers: slides, slidingWindow: 4096 }, sizes.layerCount);
  const scale = 1 / Math.sqrt(fields.positive("query_pre_attn_scalar", 256));
  const epsilon = fields.positive("rms_norm_eps", 1e-6);
  const activation = readActivation(fields, "hidden_activation", "gelu_pytorch_tanh");
  const sliding = { theta: fields.positive("rope_local_base_freq", 10000) };
  const ropes = readRopes(fields, { ...sizes, theta: 1e6, sliding }, types);
  const bias = fields.boolean("attention_bias", false);
  const norm = (path: string, size = sizes.hiddenSize): Norm => ({ ...rmsNorm(path, size, epsilon), offset: 1 });
  const headNorm = (path: string): HeadNorm => sharedHeadNorm(norm(path, sizes.headDim));
  const layers = layerPaths(sizes, `${root}.layers`).map((path, i) => {
    const attention = separateAttention(`${path}.self_attn`, sizes, {
      inputBias: bias,
      outputBias: bias,
      queryNorm: headNorm(`${path}.self_attn.q_norm`),
      keyNorm: headNorm(`${path}.self_attn.k_norm`),
      scale,
      window: at(windows, i),
      rope: ropes.of(at(types, i)),
    });
    return sequentialLayer(
      path,
      sublayer(attention, norm(`${path}.input_layernorm`), norm(`${path}.post_attention_layernorm`)),
      sublayer(
        gatedFeedForward(`${path}.mlp`, sizes, activation, false),
        norm(`${path}.pre_feedforward_layernorm`),
        norm(`${path}.post_feedforward_layernorm`),
      ),
    );
  });
  const table = embedding(`${root}.embed_tokens`, Math.sqrt(sizes.hiddenSize));
  return {
    ...sizes,
    embedding: table,
    ropes: ropes.ropes,
    layers,
    finalNorm: norm(`${root}.norm`),
    head: readHead(fields, sizes, table, {
      tied: true,
      softcap: fields.positiveOrNull("final_logit_softcapping", null),
    }),
  };
}
