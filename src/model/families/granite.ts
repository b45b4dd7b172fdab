/** Granite 3 (IBM, 2024): Llama's layers with factors for the embeddings, each sublayer's output, the scores and the logits. */

import type { ConfigFields } from "../config/fields.js";
import type { Family } from "./family.js";
import { llamaSizes, llamaTokens, type Multipliers, readLlamaShape } from "./llama.js";
import { llamaNames } from "./parts.js";

export const graniteKeys = [
  "attention_bias",
  "embedding_multiplier",
  "residual_multiplier",
  "attention_multiplier",
  "logits_scaling",
];

export const readMultipliers = (fields: ConfigFields): Multipliers => ({
  embedding: fields.positive("embedding_multiplier", 1),
  residual: fields.positive("residual_multiplier", 1),
  attention: fields.positive("attention_multiplier", 1),
  logits: 1 / fields.positive("logits_scaling", 1),
});

export const granite: Family = {
  name: "granite",
  architectures: ["GraniteForCausalLM", "GraniteModel"],
  reads: [...graniteKeys, "mlp_bias"],
  tokens: llamaTokens,
  names: llamaNames,
  read(fields) {
    const bias = fields.boolean("attention_bias", false);
    return readLlamaShape(fields, {
      sizes: llamaSizes,
      windows: { layers: "never", slidingWindow: null },
      inputBias: bias,
      outputBias: bias,
      feedForwardBias: fields.boolean("mlp_bias", false),
      multipliers: readMultipliers(fields),
    });
  },
};
