/** The frozen base model of a run. The forward pass uses the server's own weights; quantized ones have copies for gradients. */
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
  /** Size of all weights, forward and backward. */
  readonly bytes: number;
  /** Weights, forward or backward, that are quantized in blocks because the error by row was too large. */
  readonly blocks: readonly string[];
  /** Call it only after all sessions that use the weights are closed. */
  close(): Promise<void>;
}

/** Prepares the weights, or finds them in the cache, where the server finds them too. Throws what `prepareWeights` throws. */
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
