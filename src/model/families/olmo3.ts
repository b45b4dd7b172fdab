/** OLMo 3 (Ai2, 2025): sublayers that read the stream as it is and are normalized after, and ropes of their own for full attention. */

import type { Norm } from "../blueprint.js";
import { readActivation } from "../config/activation.js";
import { readRopes } from "../config/rope.js";
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

export const olmo3: Family = {
  name: "olmo3",
  architectures: ["Olmo3ForCausalLM", "Olmo3Model"],
  reads: ["attention_bias", "sliding_window"],
  tokens: { eosIds: [50279], bosId: null, padId: 1 },
  names: llamaNames,
  read(fields) {
    const sizes = readSizes(fields, {
      hiddenSize: 4096,
      intermediateSize: 11008,
      layerCount: 32,
      headCount: 32,
      kvHeadCount: null,
      headDim: null,
      vocabSize: 50304,
      maxPositions: 2048,
    });
    const { hiddenSize, headCount, kvHeadCount, headDim } = sizes;
    const windows = readWindows(fields, { layers: "threeOfFour", slidingWindow: 4096 }, sizes.layerCount);
    const epsilon = fields.positive("rms_norm_eps", 1e-5);
    const activation = readActivation(fields, "hidden_act", "silu");
    const theta = fields.positive("rope_theta", 500000);
    const ropes = readRopes(fields, { ...sizes, theta: 500000, sliding: { theta } }, windows.types);
    const bias = fields.boolean("attention_bias", false);
    const norm = (path: string): Norm => rmsNorm(path, hiddenSize, epsilon);
    const layers = layerPaths(sizes).map((path, i) => {
      const attention = separateAttention(`${path}.self_attn`, sizes, {
        inputBias: bias,
        outputBias: bias,
        queryNorm: { scope: "whole", norm: rmsNorm(`${path}.self_attn.q_norm`, headCount * headDim, epsilon) },
        keyNorm: { scope: "whole", norm: rmsNorm(`${path}.self_attn.k_norm`, kvHeadCount * headDim, epsilon) },
        window: windows.windows[i] ?? null,
        rope: ropes.of(windows.types[i] ?? "full_attention"),
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
      ropes: ropes.ropes,
      layers,
      finalNorm: norm("model.norm"),
      head: readHead(fields, sizes, table, { tied: false }),
    };
  },
};
