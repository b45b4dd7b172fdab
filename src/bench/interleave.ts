/** Runs what is to be compared in turns, since a machine drifts: A B C, then C B A, and so on. Knows not what it runs. */

import type { Progress } from "../base/log.js";
import type { Series } from "./series.js";

/** One of those that are compared. Each call takes one sample, after whatever warm-up it needs. */
export interface Contender {
  readonly id: string;
  readonly unit: string;
  sample(): Promise<number>;
}

export interface InterleaveOptions {
  readonly rounds: number;
  /** Rounds before them whose samples are thrown away. */
  readonly warmups: number;
  readonly what: string;
  readonly progress?: Progress;
}

/** One series for each contender, with one sample a round. */
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
      if (round >= 0) samples.get(contender.id)?.push(sample);
    }
  }
  progress?.(what, total, total);
  return contenders.map(({ id, unit }) => ({ id, unit, samples: samples.get(id) ?? [] }));
}
