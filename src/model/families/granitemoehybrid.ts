/** Granite 4 (IBM, 2025) without experts and Mamba layers: Granite 3 with gate and up in one linear layer, and optionally without positions. */

import { shown } from "../../base/json.js";
import { readActivation } from "../config/activation.js";
import type { ConfigFields } from "../config/fields.js";
import { readRope } from "../config/rope.js";
import { readSizes } from "../config/sizes.js";
import { readWindows } from "../config/windows.js";
import type { Family } from "./family.js";
import { graniteKeys, readMultipliers } from "./granite.js";
import { llamaSizes, llamaTokens } from "./llama.js";
import {
  embedding,
  layerPaths,
  llamaNames,
  packedFeedForward,
  preNormLayer,
  readHead,
  rmsNorm,
  separateAttention,
} from "./parts.js";

export const granitemoehybrid: Family = {
  name: "granitemoehybrid",
  architectures: ["GraniteMoeHybridForCausalLM", "GraniteMoeHybridModel"],
  synonyms: { layer_types: "layers_block_type" },
  reads: [...graniteKeys, "num_experts_per_tok"],
  tokens: llamaTokens,
  names: llamaNames,
  read(fields) {
    // intermediate_size is the width of an expert.
    const intermediateSize = fields.integer("shared_intermediate_size", 1024);
    const sizes = { ...readSizes(fields, llamaSizes), intermediateSize };
    const { hiddenSize } = sizes;
    refuseHybrid(fields);
    const { types } = readWindows(fields, { layers: "never", slidingWindow: null }, sizes.layerCount);
    const epsilon = fields.positive("rms_norm_eps", 1e-6);
    const activation = readActivation(fields, "hidden_act", "silu");
    const bias = fields.boolean("attention_bias", false);
    const multipliers = readMultipliers(fields);
    const turns = fields.string("position_embedding_type", "nope") === "rope";
    const layers = layerPaths(sizes).map((path) => {
      const mlp = `${path}.shared_mlp`;
      return preNormLayer(
        path,
        separateAttention(`${path}.self_attn`, sizes, {
          inputBias: bias,
          outputBias: bias,
          scale: multipliers.attention,
          rope: turns ? 0 : null,
        }),
        packedFeedForward([`${mlp}.input_linear`, `${mlp}.output_linear`], sizes, activation),
        (name) => rmsNorm(name, hiddenSize, epsilon),
        multipliers.residual,
      );
    });
    const table = embedding("model.embed_tokens", multipliers.embedding);
    return {
      ...sizes,
      embedding: table,
      ropes: turns ? [readRope(fields, sizes, types)] : [],
      layers,
      finalNorm: rmsNorm("model.norm", hiddenSize, epsilon),
      head: readHead(fields, sizes, table, { tied: false, scale: multipliers.logits }),
    };
  },
};

/** By default all layers of this family are Mamba layers with experts. */
function refuseHybrid(fields: ConfigFields): void {
  if (!fields.has("num_local_experts")) {
    fields.faults.unsupported(
      `${fields.name("num_local_experts")} is missing, which means 8 experts; 0 is implemented`,
    );
  }
  if (!fields.has("layer_types")) {
    const found = shown(fields.raw("layer_types") ?? null);
    fields.faults.unsupported(
      `${fields.name("layer_types")} is ${found}, which means Mamba layers; attention is implemented`,
    );
  }
}
