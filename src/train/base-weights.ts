/** The frozen base of a run: forwards the very weights that the server runs, and beside quantized ones the copies for gradients. */
import type { Progress } from "../base/log.js";
import { exactRowLimit } from "../engine/kernel-probe.js";
import { type BaseDtype, planServing } from "../engine/start.js";
import type { Checkpoint } from "../model/types.js";
import type { WeightSource } from "../model/weights.js";
import { planBackward } from "../weights/backward.js";
import { type PreparedWeights, prepareWeights } from "../weights/prepare.js";

export interface BaseOptions {
  readonly checkpoint: Checkpoint;
  readonly dtype: BaseDtype;
  readonly threads: number;
  readonly cacheDirectory?: string;
  readonly progress?: Progress;
}

export interface BaseWeights {
  readonly dtype: BaseDtype;
  readonly weights: WeightSource;
  /** Of all weights in the form that runs, both ways. */
  readonly bytes: number;
  /** Layers, either way, that took blocks because the error of their rows was too large. */
  readonly blocks: readonly string[];
  /** Only after every session over them is gone. */
  close(): Promise<void>;
}

/** Prepares a base, or finds it in the cache: the way forwards under the server's own key. Throws what `prepareWeights` throws. */
export async function openBase(options: BaseOptions): Promise<BaseWeights> {
  const { checkpoint, dtype, threads } = options;
  const forward = await prepareWeights(checkpoint, await planServing(checkpoint, options), options);
  if (dtype === "fp32") return baseOf(dtype, [forward]);
  try {
    const plan = planBackward(forward.weights, await exactRowLimit(threads));
    return baseOf(dtype, [forward, await prepareWeights(checkpoint, plan, options)]);
  } catch (error) {
    await forward.close();
    throw error;
  }
}

function baseOf(dtype: BaseDtype, parts: readonly PreparedWeights[]): BaseWeights {
  const weights = new Map(parts.flatMap((part) => [...part.weights]));
  return {
    dtype,
    weights,
    bytes: parts.reduce((sum, { bytes }) => sum + bytes, 0),
    blocks: [...weights.values()].filter(({ rowError }) => rowError !== undefined).map(({ name }) => name),
    async close() {
      for (const part of parts) await part.close();
    },
  };
}
