/** GPT-2 (Radford et al., 2019): learned positions, LayerNorm, and linear layers stored as [in, out]. */

import type { Linear } from "../blueprint.js";
import { readActivation } from "../config/activation.js";
import type { ConfigFields } from "../config/fields.js";
import { readSizes } from "../config/sizes.js";
import { readWindows } from "../config/windows.js";
import type { Family } from "./family.js";
import { attention, layerNorm, layerPaths, linear, readHead, sequentialLayer, sublayer } from "./parts.js";

export const gpt2: Family = {
  name: "gpt2",
  architectures: ["GPT2LMHeadModel", "GPT2Model"],
  synonyms: {
    hidden_size: "n_embd",
    num_hidden_layers: "n_layer",
    num_attention_heads: "n_head",
    max_position_embeddings: "n_positions",
    intermediate_size: "n_inner",
  },
  reads: ["attention_bias", "mlp_bias"],
  refuses: ["rope_scaling", "rope_parameters", "rope_theta"].map((key) => ({
    keys: [key],
    isHarmless: () => false,
    why: "gpt2 has learned positions",
  })),
  tokens: { eosIds: [50256], bosId: 50256, padId: null },
  names: { prefix: "transformer.", buffers: /^transformer\.h\.\d+\.attn\.(bias|masked_bias)$/ },
  read(fields) {
    const sizes = readSizes(fields, {
      hiddenSize: 768,
      intermediateSize: null,
      layerCount: 12,
      headCount: 12,
      kvHeadCount: "none",
      headDim: "none",
      vocabSize: 50257,
      maxPositions: 1024,
    });
    const { hiddenSize, intermediateSize, headDim, maxPositions } = sizes;
    readWindows(fields, { layers: "never", slidingWindow: null }, sizes.layerCount);
    checkHead(fields, headDim);
    const scale = fields.boolean("scale_attn_weights", true) ? 1 / Math.sqrt(headDim) : 1;
    const epsilon = fields.positive("layer_norm_epsilon", 1e-5);
    const activation = readActivation(fields, "activation_function", "gelu_new");
    const conv1d = (path: string, inFeatures: number, outFeatures: number): Linear => ({
      ...linear(path, inFeatures, outFeatures, true),
      transposed: true,
    });
    const norm = (path: string) => layerNorm(path, hiddenSize, epsilon);
    const layers = layerPaths(sizes, "transformer.h").map((path) => {
      const body = attention(sizes, {
        input: { kind: "packed", order: "kind", qkv: conv1d(`${path}.attn.c_attn`, hiddenSize, 3 * hiddenSize) },
        output: conv1d(`${path}.attn.c_proj`, hiddenSize, hiddenSize),
        scale,
        rope: null,
      });
      const feedForward = {
        kind: "plain" as const,
        activation,
        up: conv1d(`${path}.mlp.c_fc`, hiddenSize, intermediateSize),
        down: conv1d(`${path}.mlp.c_proj`, intermediateSize, hiddenSize),
      };
      return sequentialLayer(path, sublayer(body, norm(`${path}.ln_1`)), sublayer(feedForward, norm(`${path}.ln_2`)));
    });
    const table = {
      path: "transformer.wte",
      scale: 1,
      positions: { path: "transformer.wpe", count: maxPositions },
    };
    return {
      ...sizes,
      embedding: table,
      ropes: [],
      layers,
      finalNorm: norm("transformer.ln_f"),
      head: readHead(fields, sizes, table, { tied: true }),
    };
  },
};

/** Without rotary positions, ONNX Runtime's GroupQueryAttention needs head sizes that are a multiple of 8. */
function checkHead(fields: ConfigFields, headDim: number): void {
  if (headDim % 8 !== 0) fields.faults.unsupported(`heads of ${headDim} are not implemented; multiples of 8 are`);
}
