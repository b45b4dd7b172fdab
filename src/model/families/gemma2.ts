/** Gemma 2 (arXiv:2408.00118): norms before and after each sublayer, softcaps, and sliding windows in every other layer. */

import { at } from "../../base/list.js";
import type { Norm } from "../blueprint.js";
import { readActivation } from "../config/activation.js";
import { readRope } from "../config/rope.js";
import { readSizes } from "../config/sizes.js";
import { readWindows } from "../config/windows.js";
import type { Family } from "./family.js";
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
} from "./parts.js";

export const gemma2: Family = {
  name: "gemma2",
  architectures: ["Gemma2ForCausalLM", "Gemma2Model"],
  reads: [
    "attention_bias",
    "sliding_window",
    "attn_logit_softcapping",
    "final_logit_softcapping",
    "query_pre_attn_scalar",
  ],
  tokens: { eosIds: [1], bosId: 2, padId: 0 },
  names: llamaNames,
  read(fields) {
    const sizes = readSizes(fields, {
      hiddenSize: 2304,
      intermediateSize: 9216,
      layerCount: 26,
      headCount: 8,
      kvHeadCount: 4,
      headDim: 256,
      vocabSize: 256000,
      maxPositions: 8192,
    });
    const { types, windows } = readWindows(fields, { layers: "alternate", slidingWindow: 4096 }, sizes.layerCount);
    const scale = 1 / Math.sqrt(fields.positive("query_pre_attn_scalar", 256));
    const epsilon = fields.positive("rms_norm_eps", 1e-6);
    const activation = readActivation(fields, "hidden_activation", "gelu_pytorch_tanh");
    const rope = readRope(fields, sizes, types);
    const softcap = fields.positiveOrNull("attn_logit_softcapping", 50);
    const bias = fields.boolean("attention_bias", false);
    const norm = (path: string): Norm => ({ ...rmsNorm(path, sizes.hiddenSize, epsilon), offset: 1 });
    const layers = layerPaths(sizes).map((path, i) => {
      const attention = separateAttention(`${path}.self_attn`, sizes, {
        inputBias: bias,
        outputBias: bias,
        scale,
        softcap,
        window: at(windows, i),
      });
      const feedForward = gatedFeedForward(`${path}.mlp`, sizes, activation, false);
      return sequentialLayer(
        path,
        sublayer(attention, norm(`${path}.input_layernorm`), norm(`${path}.post_attention_layernorm`)),
        sublayer(feedForward, norm(`${path}.pre_feedforward_layernorm`), norm(`${path}.post_feedforward_layernorm`)),
      );
    });
    const table = embedding("model.embed_tokens", Math.sqrt(sizes.hiddenSize));
    return {
      ...sizes,
      embedding: table,
      ropes: [rope],
      layers,
      finalNorm: norm("model.norm"),
      head: readHead(fields, sizes, table, {
        tied: true,
        softcap: fields.positiveOrNull("final_logit_softcapping", 30),
      }),
    };
  },
};
