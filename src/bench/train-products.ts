/** Counts the matrix products of one training step, which bound its duration. */

import { layerModules } from "../model/modules.js";
import type { DecoderConfig } from "../model/types.js";

export interface StepSize {
  readonly config: DecoderConfig;
  readonly rows: number;
  readonly length: number;
  readonly labels: number;
  readonly rank: number;
}

/** Floating-point operations of one step, a multiplication and an addition counted as two. */
export interface StepProducts {
  /** The forward pass of the frozen layers, and the gradients of their inputs. */
  readonly linears: number;
  readonly adapters: number;
  /** Scores and attention outputs over whole squares, as they run: the masked half is computed too. */
  readonly attention: number;
  readonly head: number;
}

/**
 * Counts the products. A frozen base needs forward and dx, two thirds of training every weight. The first layer's q, k and v need
 * no dx. An adapter takes x A, h B, and four products in the backward pass.
 */
export function countProducts({ config, rows, length, labels, rank }: StepSize): StepProducts {
  const { headCount, headDim, layerCount, hiddenSize, vocabSize } = config;
  const tokens = rows * length;
  const modules = layerModules(config);
  const sum = (of: (module: (typeof modules)[number]) => number): number =>
    modules.reduce((n, module) => n + of(module), 0);
  const weights = sum(({ inFeatures, outFeatures }) => inFeatures * outFeatures);
  const first = modules
    .filter(({ path }) => /\.0\.(self_attn\.(q|k|v|qkv)_proj|attn\.c_attn)$/.test(path))
    .reduce((n, { inFeatures, outFeatures }) => n + inFeatures * outFeatures, 0);
  const widths = sum(({ inFeatures, outFeatures }) => inFeatures + outFeatures);
  return {
    linears: 2 * tokens * (2 * weights - first),
    adapters: 2 * tokens * 3 * rank * widths,
    attention: 2 * 6 * layerCount * rows * headCount * length ** 2 * headDim,
    head: 2 * 2 * labels * hiddenSize * vocabSize,
  };
}

/** Milliseconds that the products take at the machine's rates (operations a second); the linear layers at the rate of their form. */
export function ceilingMs(
  { linears, adapters, attention, head }: StepProducts,
  rates: { readonly fp32: number; readonly linears: number },
): number {
  return 1000 * (linears / rates.linears + (adapters + attention + head) / rates.fp32);
}
