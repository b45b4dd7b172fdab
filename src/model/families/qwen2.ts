/** Qwen 2 and 2.5 (arXiv:2407.10671): Llama's layers with biases in q, k and v, and optional sliding windows in the last layers. */

import type { SizeDefaults } from "../config/sizes.js";
import type { TokenDefaults } from "../config/tokens.js";
import type { WindowRules } from "../config/windows.js";
import type { Family } from "./family.js";
import { llamaSizes, readLlamaShape } from "./llama.js";
import { llamaNames } from "./parts.js";

export const qwenSizes: SizeDefaults = {
  ...llamaSizes,
  intermediateSize: 22016,
  kvHeadCount: 32,
  vocabSize: 151936,
  maxPositions: 32768,
};

export const qwenWindows: WindowRules = { layers: "late", slidingWindow: 4096 };
export const qwenTokens: TokenDefaults = { eosIds: [], bosId: null, padId: null };
/** Fitted by "LoRA Without Regret" (Schulman et al., Thinking Machines Lab, 2025). */
export const qwenLearningRateExponent = 0.0775;

export const qwen2: Family = {
  name: "qwen2",
  architectures: ["Qwen2ForCausalLM", "Qwen2Model"],
  // transformers ignores the key: q, k and v always have biases.
  reads: ["attention_bias", "sliding_window"],
  tokens: qwenTokens,
  names: llamaNames,
  learningRateExponent: qwenLearningRateExponent,
  read: (fields) =>
    readLlamaShape(fields, {
      sizes: qwenSizes,
      windows: qwenWindows,
      inputBias: true,
      outputBias: false,
      feedForwardBias: false,
    }),
};
