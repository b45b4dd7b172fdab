/** OLMo 2 (arXiv:2501.00656): sublayers that read the stream itself and are normalized after, queries and keys normalized over all heads. */

import { readActivation } from "../config/activation.js";
import { readRope } from "../config/rope.js";
import { readSizes } from "../config/sizes.js";
import { readWindows } from "../config/windows.js";
import type { Family } from "./family.js";
import { llamaSizes } from "./llama.js";
import {
  embedding,
  gatedFeedForward,
  layerPaths,
  llamaNames,
  readHead,
  rmsNorm,
  separateAttention,
  sequentialLayer,
  sublayer,
  wholeHeadNorm,
} from "./parts.js";

export const olmo2: Family = {
  name: "olmo2",
  architectures: ["Olmo2ForCausalLM", "Olmo2Model"],
  reads: ["attention_bias"],
  tokens: { eosIds: [50279], bosId: null, padId: 1 },
  names: llamaNames,
  read(fields) {
    const sizes = readSizes(fields, { ...llamaSizes, vocabSize: 50304 });
    const { hiddenSize, headCount, kvHeadCount, headDim } = sizes;
    const { types } = readWindows(fields, { layers: "never", slidingWindow: null }, sizes.layerCount);
    const epsilon = fields.positive("rms_norm_eps", 1e-5);
    const activation = readActivation(fields, "hidden_act", "silu");
    const bias = fields.boolean("attention_bias", false);
    const rope = readRope(fields, sizes, types);
    const norm = (path: string, size = hiddenSize) => rmsNorm(path, size, epsilon);
    const layers = layerPaths(sizes).map((path) => {
      const attention = separateAttention(`${path}.self_attn`, sizes, {
        inputBias: bias,
        outputBias: bias,
        queryNorm: wholeHeadNorm(norm(`${path}.self_attn.q_norm`, headCount * headDim)),
        keyNorm: wholeHeadNorm(norm(`${path}.self_attn.k_norm`, kvHeadCount * headDim)),
      });
      return sequentialLayer(
        path,
        sublayer(attention, null, norm(`${path}.post_attention_layernorm`)),
        sublayer(
          gatedFeedForward(`${path}.mlp`, sizes, activation, false),
          null,
          norm(`${path}.post_feedforward_layernorm`),
        ),
      );
    });
    const table = embedding();
    return {
      ...sizes,
      embedding: table,
      ropes: [rope],
      layers,
      finalNorm: norm("model.norm"),
      head: readHead(fields, sizes, table, { tied: false }),
    };
  },
};
