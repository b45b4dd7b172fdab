/** Qwen 3 (arXiv:2505.09388): Qwen 2 with normalized queries and keys, and biases only if the config sets them. */

import type { Family } from "./family.js";
import { readLlamaShape } from "./llama.js";
import { llamaNames } from "./parts.js";
import { qwenLearningRateExponent, qwenSizes, qwenTokens, qwenWindows } from "./qwen2.js";

export const qwen3: Family = {
  name: "qwen3",
  architectures: ["Qwen3ForCausalLM", "Qwen3Model"],
  reads: ["attention_bias", "sliding_window", "qk_norm", "use_qk_norm", "qk_layernorm", "use_qk_layernorm"],
  tokens: qwenTokens,
  names: llamaNames,
  learningRateExponent: qwenLearningRateExponent,
  read(fields) {
    const bias = fields.boolean("attention_bias", false);
    return readLlamaShape(fields, {
      sizes: { ...qwenSizes, headDim: 128 },
      windows: qwenWindows,
      inputBias: bias,
      outputBias: bias,
      feedForwardBias: false,
      headNorms: true,
    });
  },
};
