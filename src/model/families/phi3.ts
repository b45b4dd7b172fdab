/** Phi-3 (arXiv:2404.14219): Llama's layers with q, k and v in one linear layer, and gate and up in another. */

import { at } from "../../base/list.js";
import { readActivation } from "../config/activation.js";
import { readRope } from "../config/rope.js";
import { readSizes } from "../config/sizes.js";
import { readWindows } from "../config/windows.js";
import type { Family } from "./family.js";
import { llamaSizes } from "./llama.js";
import {
  attention,
  embedding,
  layerPaths,
  linear,
  llamaNames,
  packedFeedForward,
  preNormLayer,
  readHead,
  rmsNorm,
} from "./parts.js";

/** transformers reads longrope under all of its former names, and recomputes a text that exceeds the original length. */
const ropeRules = {
  types: ["default", "longrope"],
  aliases: { su: "longrope", yarn: "longrope" },
  rereads: true,
} as const;

export const phi3: Family = {
  name: "phi3",
  architectures: ["Phi3ForCausalLM", "Phi3Model"],
  reads: ["sliding_window"],
  tokens: { eosIds: [32000], bosId: 1, padId: 32000 },
  names: llamaNames,
  read(fields) {
    const sizes = readSizes(fields, {
      ...llamaSizes,
      hiddenSize: 3072,
      intermediateSize: 8192,
      vocabSize: 32064,
      maxPositions: 4096,
    });
    const { hiddenSize, headCount, kvHeadCount, headDim } = sizes;
    const { types, windows } = readWindows(fields, { layers: "every", slidingWindow: null }, sizes.layerCount);
    const epsilon = fields.positive("rms_norm_eps", 1e-5);
    const activation = readActivation(fields, "hidden_act", "silu");
    const rope = readRope(fields, { ...sizes, ...ropeRules }, types);
    const layers = layerPaths(sizes).map((path, i) => {
      const width = (headCount + 2 * kvHeadCount) * headDim;
      return preNormLayer(
        path,
        attention(sizes, {
          input: { kind: "packed", order: "kind", qkv: linear(`${path}.self_attn.qkv_proj`, hiddenSize, width, false) },
          output: linear(`${path}.self_attn.o_proj`, headCount * headDim, hiddenSize, false),
          window: at(windows, i),
        }),
        packedFeedForward([`${path}.mlp.gate_up_proj`, `${path}.mlp.down_proj`], sizes, activation),
        (name) => rmsNorm(name, hiddenSize, epsilon),
      );
    });
    const table = embedding();
    return {
      ...sizes,
      embedding: table,
      ropes: [rope],
      layers,
      finalNorm: rmsNorm("model.norm", hiddenSize, epsilon),
      head: readHead(fields, sizes, table, { tied: false }),
    };
  },
};
