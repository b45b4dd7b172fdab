/** Series of samples, their spreads, and ratios of series measured in the same rounds. */

import { assert } from "../base/errors.js";
import { zip } from "../base/list.js";
import { median } from "../base/median.js";

/** Samples of one quantity in the order of the rounds. Series of the same rounds are compared round by round. */
export interface Series {
  readonly id: string;
  readonly unit: string;
  readonly samples: readonly number[];
}

export interface Spread {
  readonly min: number;
  readonly median: number;
  readonly max: number;
}

export function spreadOf(samples: readonly number[]): Spread {
  return { min: Math.min(...samples), median: median(samples), max: Math.max(...samples) };
}

/**
 * over / under: with equal numbers of samples the spread of each round's ratio, which cancels the machine's drift between rounds;
 * else the ratio of the medians.
 */
export function ratioOf(over: Series, under: Series): Spread {
  if (over.samples.length === under.samples.length) {
    return spreadOf(zip(over.samples, under.samples).map(([sample, other]) => sample / other));
  }
  const ratio = median(over.samples) / median(under.samples);
  return { min: ratio, median: ratio, max: ratio };
}

/** All series of a run by id. */
export class SeriesBook {
  readonly #series = new Map<string, Series>();

  add(series: Series): void {
    assert(!this.#series.has(series.id), `the series ${series.id} is measured once`);
    assert(series.samples.length > 0, `the series ${series.id} has samples`);
    this.#series.set(series.id, series);
  }

  /** Adds a series derived from another, sample by sample. */
  derive(id: string, unit: string, from: string, change: (sample: number) => number): void {
    this.add({ id, unit, samples: this.get(from).samples.map(change) });
  }

  find(id: string): Series | undefined {
    return this.#series.get(id);
  }

  get(id: string): Series {
    const series = this.#series.get(id);
    assert(series, `the series ${id} was measured`);
    return series;
  }

  all(): Series[] {
    return [...this.#series.values()];
  }
}
