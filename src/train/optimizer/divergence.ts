/** Tells a diverged loss from a noisy one. */

/** Statistics of the losses so far. Checkpoints hold them as JSON. */
export interface LossLevel {
  /** Number of losses. */
  readonly count: number;
  /** Their running mean, without losses far above it. */
  readonly mean: number;
  /** Consecutive losses far above the mean. */
  readonly above: number;
}

export const initialLevel: LossLevel = { count: 0, mean: 0, above: 0 };

/** Losses that are only averaged at first; window of the mean; consecutive losses that must be far above it. */
const patienceSteps = 20;
const share = 0.5;
/** A run that has memorized its rows may fluctuate between 0.001 and 0.1. */
const slack = 1;

/** The level of a run whose mean is known before it has taken a step: its first losses are followed as all others are. */
export const settledLevel = (mean: number): LossLevel => ({ count: patienceSteps, mean, above: 0 });

/** Losses of policy gradients may be negative. */
const limitOf = (mean: number): number => mean + share * Math.abs(mean) + slack;

/** Adds a loss. One far above the mean is clipped at first and ignored later, so that the mean does not follow a diverging run. */
export function follow({ count, mean, above }: LossLevel, loss: number): LossLevel {
  const limit = count === 0 ? loss : limitOf(mean);
  if (count < patienceSteps) {
    return { count: count + 1, mean: mean + (Math.min(loss, limit) - mean) / (count + 1), above: 0 };
  }
  if (loss > limit) return { count: count + 1, mean, above: above + 1 };
  return { count: count + 1, mean: mean + (loss - mean) / patienceSteps, above: 0 };
}

export const hasDiverged = ({ above }: LossLevel): boolean => above >= patienceSteps;

/** The rule of `hasDiverged`, for messages. */
export const divergenceRule = `above its running mean by ${100 * share} % and ${slack} for ${patienceSteps} steps`;
