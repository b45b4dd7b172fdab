/** OLMo 2 (arXiv:2501.00656): sublayers read the residual stream unnormalized, and queries and keys are normalized over all heads. */

import { at } from "../../base/list.js";
import type { Rope } from "../blueprint.js";
import { readActivation } from "../config/activation.js";
import type { ConfigFields } from "../config/fields.js";
import { readRope } from "../config/rope.js";
import { readSizes } from "../config/sizes.js";
import type { TokenDefaults } from "../config/tokens.js";
import { readWindows } from "../config/windows.js";
import type { Sizes } from "../types.js";
import type { Family, FamilyDecoder } from "./family.js";
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

export const olmoTokens: TokenDefaults = { eosIds: [50279], bosId: null, padId: 1 };

export const olmo2: Family = {
  name: "olmo2",
  architectures: ["Olmo2ForCausalLM", "Olmo2Model"],
  reads: ["attention_bias"],
  tokens: olmoTokens,
  names: llamaNames,
  read: (fields) =>
    readOlmo(fields, (sizes) => {
      const { types, windows } = readWindows(fields, { layers: "never", slidingWindow: null }, sizes.layerCount);
      return { ropes: [readRope(fields, sizes, types)], layers: windows.map((window) => ({ window, rope: 0 })) };
    }),
};

/** A decoder's ropes, and the window and rope of each layer. */
export interface OlmoPositions {
  readonly ropes: readonly Rope[];
  readonly layers: readonly { readonly window: number | null; readonly rope: number }[];
}

/** Builds a decoder of OLMo's layers. Faults go to `fields.faults`. */
export function readOlmo(fields: ConfigFields, readPositions: (sizes: Sizes) => OlmoPositions): FamilyDecoder {
  const sizes = readSizes(fields, { ...llamaSizes, vocabSize: 50304 });
  const { hiddenSize, headCount, kvHeadCount, headDim } = sizes;
  const positions = readPositions(sizes);
  const epsilon = fields.positive("rms_norm_eps", 1e-5);
  const activation = readActivation(fields, "hidden_act", "silu");
  const bias = fields.boolean("attention_bias", false);
  const norm = (path: string, size = hiddenSize) => rmsNorm(path, size, epsilon);
  const layers = layerPaths(sizes).map((path, i) => {
    const attention = separateAttention(`${path}.self_attn`, sizes, {
      inputBias: bias,
      outputBias: bias,
      queryNorm: wholeHeadNorm(norm(`${path}.self_attn.q_norm`, headCount * headDim)),
      keyNorm: wholeHeadNorm(norm(`${path}.self_attn.k_norm`, kvHeadCount * headDim)),
      ...at(positions.layers, i),
    });
    const feedForward = gatedFeedForward(`${path}.mlp`, sizes, activation, false);
    return sequentialLayer(
      path,
      sublayer(attention, null, norm(`${path}.post_attention_layernorm`)),
      sublayer(feedForward, null, norm(`${path}.post_feedforward_layernorm`)),
    );
  });
  const table = embedding();
  return {
    ...sizes,
    embedding: table,
    ropes: positions.ropes,
    layers,
    finalNorm: norm("model.norm"),
    head: readHead(fields, sizes, table, { tied: false }),
  };
}
