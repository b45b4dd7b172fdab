/** Mistral (arXiv:2310.06825): Llama's layers, all with a sliding window if the config sets one. */

import type { Family } from "./family.js";
import { llamaSizes, llamaTokens, readLlamaShape } from "./llama.js";
import { llamaNames } from "./parts.js";

export const mistral: Family = {
  name: "mistral",
  architectures: ["MistralForCausalLM", "MistralModel"],
  reads: ["sliding_window"],
  tokens: llamaTokens,
  names: llamaNames,
  read: (fields) =>
    readLlamaShape(fields, {
      sizes: { ...llamaSizes, intermediateSize: 14336, kvHeadCount: 8, maxPositions: 131072 },
      windows: { layers: "every", slidingWindow: 4096 },
      inputBias: false,
      outputBias: false,
      feedForwardBias: false,
    }),
};
