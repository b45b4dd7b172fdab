/** The matrix products of one training step, counted: what the machine must multiply whatever the rest costs. Runs nothing. */

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
  /** The frozen layers forwards, and the gradients of their inputs. */
  readonly linears: number;
  readonly adapters: number;
  /** Scores and mixtures over whole squares, as they run: the hidden half is computed too. */
  readonly attention: number;
  readonly head: number;
}

/**
 * A frozen base needs forward and dx, two thirds of what training every weight would take. The first layer's q, k and v pass
 * nothing on. An adapter takes x A, h B, and four products backwards.
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

/** Milliseconds that the products take at the machine's rates (operations a second); the linears at their own form's. */
export function ceilingMs(
  { linears, adapters, attention, head }: StepProducts,
  rates: { readonly fp32: number; readonly linears: number },
): number {
  return 1000 * (linears / rates.linears + (adapters + attention + head) / rates.fp32);
}
