/** Parts of a blueprint that several families share, with Llama's names. */

import { shown } from "../../base/json.js";
import type {
  Activation,
  Attention,
  Embedding,
  FeedForward,
  Head,
  HeadNorm,
  Layer,
  Linear,
  Mixer,
  Norm,
  QueryKeyValue,
  Sublayer,
} from "../blueprint.js";
import type { ConfigFields } from "../config/fields.js";
import type { Sizes } from "../types.js";
import type { CheckpointNames } from "./family.js";

export const llamaNames: CheckpointNames = {
  prefix: "model.",
  buffers: /^model\.(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq$/,
};

export const linear = (path: string, inFeatures: number, outFeatures: number, bias: boolean): Linear => ({
  path,
  inFeatures,
  outFeatures,
  bias,
  transposed: false,
});

/** RMSNorm without an offset. */
export const rmsNorm = (path: string, size: number, epsilon: number): Norm => ({
  kind: "rms",
  path,
  size,
  epsilon,
  bias: false,
  offset: 0,
});

export const layerNorm = (path: string, size: number, epsilon: number): Norm => ({
  kind: "layer",
  path,
  size,
  epsilon,
  bias: true,
  offset: 0,
});

/** One norm of a head's size for every head. */
export const sharedHeadNorm = (norm: Norm): HeadNorm => ({ scope: "shared", norm });

/** One norm over all concatenated heads. */
export const wholeHeadNorm = (norm: Norm): HeadNorm => ({ scope: "whole", norm });

export const layerPaths = ({ layerCount }: Sizes, prefix = "model.layers"): string[] =>
  Array.from({ length: layerCount }, (_, layer) => `${prefix}.${layer}`);

/** q_proj, k_proj and v_proj. */
export function separateInput(path: string, sizes: Sizes, bias: boolean): QueryKeyValue {
  const { hiddenSize, headCount, kvHeadCount, headDim } = sizes;
  const of = (name: string, heads: number): Linear => linear(`${path}.${name}`, hiddenSize, heads * headDim, bias);
  return {
    kind: "separate",
    q: of("q_proj", headCount),
    k: of("k_proj", kvHeadCount),
    v: of("v_proj", kvHeadCount),
    joined: `${path}.qkv_proj`,
  };
}

/** For families that always divide the hidden size by the heads, even if a config states another head size. */
export function refuseHeadDim(fields: ConfigFields, { headDim }: Sizes): void {
  if (!fields.has("head_dim") || fields.raw("head_dim") === headDim) return;
  fields.faults.unsupported(
    `${fields.name("head_dim")} is ${shown(fields.raw("head_dim"))}, but this family divides hidden_size by the heads: ${headDim}`,
  );
}

/** Attention with the usual defaults: no softcap, no window, the decoder's first rope, and scores divided by sqrt(headDim). */
export function attention(sizes: Sizes, parts: Pick<Attention, "input" | "output"> & Partial<Attention>): Attention {
  const scale = 1 / Math.sqrt(sizes.headDim);
  return {
    kind: "attention",
    isGated: false,
    queryNorm: null,
    keyNorm: null,
    queryGrowth: null,
    scale,
    softcap: null,
    window: null,
    rope: 0,
    ...parts,
  };
}

/** q_proj, k_proj, v_proj and o_proj. */
export function separateAttention(
  path: string,
  sizes: Sizes,
  {
    inputBias,
    outputBias,
    ...rest
  }: { readonly inputBias: boolean; readonly outputBias: boolean } & Partial<Attention>,
): Attention {
  const output = linear(`${path}.o_proj`, sizes.headCount * sizes.headDim, sizes.hiddenSize, outputBias);
  return attention(sizes, { input: separateInput(path, sizes, inputBias), output, ...rest });
}

/** gate_proj, up_proj and down_proj. */
export function gatedFeedForward(
  path: string,
  { hiddenSize, intermediateSize }: Sizes,
  activation: Activation,
  bias: boolean,
): FeedForward {
  return {
    kind: "gated",
    activation,
    gate: linear(`${path}.gate_proj`, hiddenSize, intermediateSize, bias),
    up: linear(`${path}.up_proj`, hiddenSize, intermediateSize, bias),
    joined: `${path}.gate_up_proj`,
    down: linear(`${path}.down_proj`, intermediateSize, hiddenSize, bias),
  };
}

/** One layer with gate and up, concatenated, and one down. */
export const packedFeedForward = (
  [gateUp, down]: readonly [string, string],
  { hiddenSize, intermediateSize }: Sizes,
  activation: Activation,
): FeedForward => ({
  kind: "packed",
  activation,
  gateUp: linear(gateUp, hiddenSize, 2 * intermediateSize, false),
  down: linear(down, intermediateSize, hiddenSize, false),
});

/** down(activation(up(x))), both layers with or without biases. */
export const plainFeedForward = (
  [up, down]: readonly [string, string],
  { hiddenSize, intermediateSize }: Sizes,
  activation: Activation,
  bias: boolean,
): FeedForward => ({
  kind: "plain",
  activation,
  up: linear(up, hiddenSize, intermediateSize, bias),
  down: linear(down, intermediateSize, hiddenSize, bias),
});

export const sublayer = <T>(body: T, input: Norm | null, output: Norm | null = null, scale = 1): Sublayer<T> => ({
  input,
  body,
  output,
  scale,
});

/** The feed-forward layers read the residual stream after the mixer's output is added. */
export const sequentialLayer = (path: string, mixer: Sublayer<Mixer>, feedForward: Sublayer<FeedForward>): Layer => ({
  path,
  mixer,
  feedForward,
  isParallel: false,
});

/** Both sublayers read the same residual stream, through separate norms or a shared one. */
export const parallelLayer = (path: string, mixer: Sublayer<Mixer>, feedForward: Sublayer<FeedForward>): Layer => ({
  path,
  mixer,
  feedForward,
  isParallel: true,
});

/** A layer like Llama's: each sublayer reads a norm of the residual stream, and its output, times `scale`, is added to it. */
export function preNormLayer(
  path: string,
  attention: Attention,
  feedForward: FeedForward,
  norm: (path: string) => Norm,
  scale = 1,
): Layer {
  return sequentialLayer(
    path,
    sublayer(attention, norm(`${path}.input_layernorm`), null, scale),
    sublayer(feedForward, norm(`${path}.post_attention_layernorm`), null, scale),
  );
}

export const embedding = (path = "model.embed_tokens", scale = 1): Embedding => ({ path, scale, positions: null });

export interface HeadOptions extends Partial<Pick<Head, "softcap" | "scale">> {
  /** The default of `tie_word_embeddings`. */
  readonly tied: boolean;
  /** Default: `lm_head`. */
  readonly path?: string;
  readonly bias?: boolean;
}

/** The head's own layer, or the embedding table if `tie_word_embeddings` is true. */
export function readHead(
  fields: ConfigFields,
  { hiddenSize, vocabSize }: Sizes,
  table: Embedding,
  { path = "lm_head", bias = false, ...options }: HeadOptions,
): Head {
  const tied = fields.boolean("tie_word_embeddings", options.tied);
  return {
    path,
    linear: linear(tied ? table.path : path, hiddenSize, vocabSize, bias && !tied),
    tied,
    bias,
    scale: options.scale ?? 1,
    softcap: options.softcap ?? null,
  };
}
