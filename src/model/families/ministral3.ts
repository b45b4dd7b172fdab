/** Ministral 3 (Mistral AI, 2025): Mistral's layers with YaRN, and queries scaled by position as in Llama 4. */

import { isObject } from "../../base/json.js";
import type { QueryGrowth } from "../blueprint.js";
import type { ConfigFields } from "../config/fields.js";
import type { Family } from "./family.js";
import { llamaSizes, readLlamaShape } from "./llama.js";
import { llamaNames } from "./parts.js";

/** The class's rope for configs without one. */
const defaultRope = {
  type: "yarn",
  rope_theta: 1e6,
  factor: 16,
  original_max_position_embeddings: 16384,
  beta_fast: 32,
  beta_slow: 1,
  mscale: 1,
  mscale_all_dim: 1,
  llama_4_scaling_beta: 0.1,
};

export const ministral3: Family = {
  name: "ministral3",
  architectures: ["Ministral3ForCausalLM", "Ministral3Model"],
  reads: ["sliding_window"],
  tokens: { eosIds: [2], bosId: 1, padId: 11 },
  names: llamaNames,
  read(fields) {
    const stated = fields.has("rope_parameters") || fields.has("rope_scaling");
    const config = stated ? fields : fields.with("rope_parameters", defaultRope);
    const decoder = readLlamaShape(config, {
      sizes: {
        ...llamaSizes,
        intermediateSize: 14336,
        layerCount: 34,
        kvHeadCount: 8,
        headDim: 128,
        vocabSize: 131072,
        maxPositions: 262144,
      },
      windows: { layers: "every", slidingWindow: null },
      inputBias: false,
      outputBias: false,
      feedForwardBias: false,
      epsilon: 1e-5,
    });
    const queryGrowth = readGrowth(config, decoder.maxPositions);
    if (!queryGrowth) return decoder;
    const layers = decoder.layers.map((layer) => {
      const { mixer } = layer;
      const { body } = mixer;
      return { ...layer, mixer: { ...mixer, body: body.kind === "attention" ? { ...body, queryGrowth } : body } };
    });
    return { ...decoder, layers };
  },
};

function readGrowth(fields: ConfigFields, maxPositions: number): QueryGrowth | null {
  const key = fields.has("rope_parameters") ? "rope_parameters" : "rope_scaling";
  const value = fields.raw(key);
  if (!isObject(value)) return null;
  const rope = fields.nested(key, value);
  if (!rope.has("llama_4_scaling_beta") || rope.raw("llama_4_scaling_beta") === 0) return null;
  return {
    beta: rope.positive("llama_4_scaling_beta", 0.1),
    originalMaxPositions: rope.integer("original_max_position_embeddings", maxPositions),
  };
}
