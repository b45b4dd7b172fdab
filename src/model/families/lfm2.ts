/** LFM2 (Liquid AI, 2025): gated short convolutions in most layers, and attention in the others. */

import { shown } from "../../base/json.js";
import type { Mixer, Norm } from "../blueprint.js";
import type { ConfigFields } from "../config/fields.js";
import { readRope } from "../config/rope.js";
import { readSizes } from "../config/sizes.js";
import type { Sizes } from "../types.js";
import type { Family } from "./family.js";
import {
  attention,
  embedding,
  layerPaths,
  linear,
  llamaNames,
  readHead,
  rmsNorm,
  separateInput,
  sequentialLayer,
  sharedHeadNorm,
  sublayer,
} from "./parts.js";

export const lfm2: Family = {
  name: "lfm2",
  architectures: ["Lfm2ForCausalLM", "Lfm2Model"],
  synonyms: { intermediate_size: "block_ff_dim", tie_word_embeddings: "tie_embedding" },
  overridden: ["intermediate_size"],
  tokens: { eosIds: [2], bosId: 1, padId: 0 },
  names: llamaNames,
  read(fields) {
    const stated = readSizes(fields, {
      hiddenSize: 2560,
      intermediateSize: 12288,
      layerCount: 32,
      headCount: 32,
      kvHeadCount: 8,
      headDim: null,
      vocabSize: 65536,
      maxPositions: 128000,
    });
    const sizes = { ...stated, intermediateSize: readWidth(fields, stated.intermediateSize) };
    const { hiddenSize, intermediateSize } = sizes;
    const epsilon = fields.positive("norm_eps", 1e-5);
    const isAttention = readAttentionLayers(fields, sizes.layerCount);
    const norm = (path: string, size = hiddenSize): Norm => rmsNorm(path, size, epsilon);
    const width = fields.integer("conv_L_cache", 3, { min: 2 });
    const bias = fields.boolean("conv_bias", false);
    const layers = layerPaths(sizes).map((path, layer) => {
      const mixer: Mixer = isAttention(layer)
        ? readAttention(`${path}.self_attn`, sizes, norm)
        : {
            kind: "convolution",
            input: linear(`${path}.conv.in_proj`, hiddenSize, 3 * hiddenSize, bias),
            filter: { path: `${path}.conv.conv`, channels: hiddenSize, width, bias },
            output: linear(`${path}.conv.out_proj`, hiddenSize, hiddenSize, bias),
          };
      const feed = `${path}.feed_forward`;
      const feedForward = {
        kind: "gated" as const,
        activation: "silu" as const,
        gate: linear(`${feed}.w1`, hiddenSize, intermediateSize, false),
        up: linear(`${feed}.w3`, hiddenSize, intermediateSize, false),
        joined: `${feed}.w13`,
        down: linear(`${feed}.w2`, intermediateSize, hiddenSize, false),
      };
      return sequentialLayer(
        path,
        sublayer(mixer, norm(`${path}.operator_norm`)),
        sublayer(feedForward, norm(`${path}.ffn_norm`)),
      );
    });
    const table = embedding();
    return {
      ...sizes,
      embedding: table,
      ropes: [readRope(fields, { ...sizes, theta: 1e6 }, ["full_attention"])],
      layers,
      finalNorm: norm("model.embedding_norm"),
      head: readHead(fields, sizes, table, { tied: true }),
    };
  },
};

function readAttention(path: string, sizes: Sizes, norm: (path: string, size: number) => Norm): Mixer {
  const { hiddenSize, headCount, headDim } = sizes;
  return attention(sizes, {
    input: separateInput(path, sizes, false),
    queryNorm: sharedHeadNorm(norm(`${path}.q_layernorm`, headDim)),
    keyNorm: sharedHeadNorm(norm(`${path}.k_layernorm`, headDim)),
    output: linear(`${path}.out_proj`, headCount * headDim, hiddenSize, false),
  });
}

/** The feed-forward width: two thirds of the stated one, scaled and rounded up, unless the config disables the adjustment. */
function readWidth(fields: ConfigFields, stated: number): number {
  if (!fields.boolean("block_auto_adjust_ff_dim", true)) return stated;
  const width = Math.floor((2 * stated) / 3);
  const multiplier = fields.positiveOrNull("block_ffn_dim_multiplier", 1);
  if (multiplier === null) return width;
  const multiple = fields.integer("block_multiple_of", 256);
  return multiple * Math.ceil(Math.floor(multiplier * width) / multiple);
}

/** Which layers have attention: those of `layer_types`, or else of the older `full_attn_idxs`; all if both are missing. */
function readAttentionLayers(fields: ConfigFields, layerCount: number): (layer: number) => boolean {
  if (fields.has("layer_types")) {
    const value = fields.raw("layer_types");
    const types: unknown[] = Array.isArray(value) ? value : [];
    if (types.length !== layerCount) {
      fields.faults.invalid(`${fields.name("layer_types")} is ${shown(value)}, but must list ${layerCount} layers`);
    }
    const odd = types.find((type) => type !== "conv" && type !== "full_attention");
    if (odd !== undefined) {
      fields.faults.unsupported(
        `${fields.name("layer_types")} has ${shown(odd)}, which is not implemented; conv and full_attention are`,
      );
    }
    return (layer) => types[layer] === "full_attention";
  }
  if (!fields.has("full_attn_idxs")) return () => true;
  const value = fields.raw("full_attn_idxs");
  const places = new Set<unknown>(Array.isArray(value) ? value : []);
  const layers = Array.from({ length: layerCount }, (_, layer) => layer).filter((layer) => places.has(layer));
  if (!Array.isArray(value) || layers.length !== places.size) {
    fields.faults.invalid(
      `${fields.name("full_attn_idxs")} is ${shown(value)}, but must be a list of layers from 0 to ${layerCount - 1}`,
    );
  }
  return (layer) => places.has(layer);
}
