/** Llama (arXiv:2302.13971, arXiv:2407.21783), and the shape that Mistral and Qwen share with it. */

import { at } from "../../base/list.js";
import { readActivation } from "../config/activation.js";
import type { ConfigFields } from "../config/fields.js";
import { readRope } from "../config/rope.js";
import { readSizes, type SizeDefaults } from "../config/sizes.js";
import type { TokenDefaults } from "../config/tokens.js";
import { readWindows, type WindowRules } from "../config/windows.js";
import type { Sizes } from "../types.js";
import type { Family, FamilyDecoder } from "./family.js";
import {
  embedding,
  gatedFeedForward,
  layerPaths,
  llamaNames,
  preNormLayer,
  readHead,
  rmsNorm,
  separateAttention,
  sharedHeadNorm,
} from "./parts.js";

export const llamaSizes: SizeDefaults = {
  hiddenSize: 4096,
  intermediateSize: 11008,
  layerCount: 32,
  headCount: 32,
  kvHeadCount: null,
  headDim: null,
  vocabSize: 32000,
  maxPositions: 2048,
};

export const llamaTokens: TokenDefaults = { eosIds: [2], bosId: 1, padId: null };

export const llama: Family = {
  name: "llama",
  architectures: ["LlamaForCausalLM", "LlamaModel"],
  reads: ["attention_bias", "mlp_bias"],
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
    });
  },
};

/** Factors of the embeddings, of each sublayer's output, of the scores q·k and of the logits. */
export interface Multipliers {
  readonly embedding: number;
  readonly residual: number;
  readonly attention: number;
  readonly logits: number;
}

export interface LlamaShape {
  readonly sizes: SizeDefaults;
  readonly windows: WindowRules;
  /** Whether q, k and v, the attention's output, and the feed-forward layers have biases. */
  readonly inputBias: boolean;
  readonly outputBias: boolean;
  readonly feedForwardBias: boolean;
  /** The default of `rms_norm_eps`: 1e-6 if omitted. */
  readonly epsilon?: number;
  /** Whether queries and keys are normalized, head by head. */
  readonly headNorms?: boolean;
  /** Default: 1, and 1/sqrt(headDim) for the scores. */
  readonly multipliers?: Multipliers;
  /** The default of `rope_theta`, if it differs from the usual one. */
  readonly ropeTheta?: number;
  /** Which layers have rotary positions. Default: all. */
  readonly hasRope?: (layer: number) => boolean;
  /** The default of `tie_word_embeddings`: false if omitted. */
  readonly tiedHead?: boolean;
}

/** Builds a decoder of Llama's layers. Faults go to `fields.faults`. */
export function readLlamaShape(fields: ConfigFields, shape: LlamaShape): FamilyDecoder {
  const sizes: Sizes = readSizes(fields, shape.sizes);
  const { multipliers } = shape;
  const { types, windows } = readWindows(fields, shape.windows, sizes.layerCount);
  const epsilon = fields.positive("rms_norm_eps", shape.epsilon ?? 1e-6);
  const activation = readActivation(fields, "hidden_act", "silu");
  const rope = readRope(fields, { ...sizes, ...(shape.ropeTheta && { theta: shape.ropeTheta }) }, types);
  const headNorm = (path: string) => (shape.headNorms ? sharedHeadNorm(rmsNorm(path, sizes.headDim, epsilon)) : null);
  const layers = layerPaths(sizes).map((path, i) =>
    preNormLayer(
      path,
      separateAttention(`${path}.self_attn`, sizes, {
        inputBias: shape.inputBias,
        outputBias: shape.outputBias,
        queryNorm: headNorm(`${path}.self_attn.q_norm`),
        keyNorm: headNorm(`${path}.self_attn.k_norm`),
        window: at(windows, i),
        ...(multipliers && { scale: multipliers.attention }),
        rope: shape.hasRope?.(i) === false ? null : 0,
      }),
      gatedFeedForward(`${path}.mlp`, sizes, activation, shape.feedForwardBias),
      (name) => rmsNorm(name, sizes.hiddenSize, epsilon),
      multipliers?.residual,
    ),
  );
  const table = embedding("model.embed_tokens", multipliers?.embedding);
  return {
    ...sizes,
    embedding: table,
    ropes: [rope],
    layers,
    finalNorm: rmsNorm("model.norm", sizes.hiddenSize, epsilon),
    head: readHead(fields, sizes, table, { tied: shape.tiedHead ?? false, scale: multipliers?.logits ?? 1 }),
  };
}
