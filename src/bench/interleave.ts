/** Interleaves the contenders of a comparison, since a machine drifts: A B C, then C B A, and so on. */

import { valueAt } from "../base/list.js";
import type { Progress } from "../base/log.js";
import type { Series } from "./series.js";

/** A contender of a comparison. Each call takes one sample, after any warm-up it needs. */
export interface Contender {
  readonly id: string;
  readonly unit: string;
  sample(): Promise<number>;
}

export interface InterleaveOptions {
  readonly rounds: number;
  /** Warm-up rounds, whose samples are discarded. */
  readonly warmups: number;
  readonly what: string;
  readonly progress?: Progress;
}

/** Runs all rounds: one series per contender, one sample per round. */
export async function interleave(contenders: readonly Contender[], options: InterleaveOptions): Promise<Series[]> {
  const { rounds, warmups, what, progress } = options;
  const samples = new Map<string, number[]>(contenders.map(({ id }) => [id, []]));
  const total = (rounds + warmups) * contenders.length;
  let done = 0;
  for (let round = -warmups; round < rounds; round++) {
    const order = round % 2 === 0 ? contenders : contenders.toReversed();
    for (const contender of order) {
      progress?.(what, done++, total);
      const sample = await contender.sample();
      if (round >= 0) valueAt(samples, contender.id).push(sample);
    }
  }
  progress?.(what, total, total);
  return contenders.map(({ id, unit }) => ({ id, unit, samples: valueAt(samples, id) }));
}
