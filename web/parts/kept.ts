/** Which step's weights a run has kept, in words. */
import { formatCount } from "./format.js";

interface Kept {
  readonly step: number;
  /** That the run has made. */
  readonly steps: number;
  /** The one with the best validation; null without validation. */
  readonly best: number | null;
}

export function keptWords({ step, steps, best }: Kept): string {
  const told = `step ${formatCount(step)} of ${formatCount(steps)}`;
  if (step !== steps) return `${told}, the best validation`;
  if (best === null) return `${told}, the last`;
  return best === step
    ? `${told}, the last and the best validation`
    : `${told}, the last; step ${formatCount(best)} validated best`;
}
