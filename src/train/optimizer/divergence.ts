/** Tells a loss that has left for good from one that only wavers. Knows no step and no file. */

/** What is known of a run's losses so far. Plain data: a checkpoint holds it as JSON. */
export interface LossLevel {
  /** Losses followed. */
  readonly count: number;
  /** Their running mean; losses far above it do not enter it. */
  readonly mean: number;
  /** How many losses in a row were far above it. */
  readonly above: number;
}

export const initialLevel: LossLevel = { count: 0, mean: 0, above: 0 };

/** Losses that are only averaged at first, over how many the mean runs, and how many in a row must be far above it. */
const patienceSteps = 20;
const factor = 1.5;
/** So that a run which has learned its rows by heart may waver between 0.001 and 0.1. */
const slack = 1;

const limitOf = (mean: number): number => factor * mean + slack;

/** The level after one more loss. One far above the mean counts as its limit at first and not at all later: the mean does not follow a run that diverges. */
export function follow({ count, mean, above }: LossLevel, loss: number): LossLevel {
  const limit = count === 0 ? loss : limitOf(mean);
  if (count < patienceSteps) {
    return { count: count + 1, mean: mean + (Math.min(loss, limit) - mean) / (count + 1), above: 0 };
  }
  if (loss > limit) return { count: count + 1, mean, above: above + 1 };
  return { count: count + 1, mean: mean + (loss - mean) / patienceSteps, above: 0 };
}

export const hasDiverged = ({ above }: LossLevel): boolean => above >= patienceSteps;

/** What `hasDiverged` means, for who must say it. */
export const divergenceRule = `above ${factor} times its running mean plus ${slack} for ${patienceSteps} steps`;
