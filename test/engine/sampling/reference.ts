/** What the sampler must do, written as plainly as possible in float64: sort everything, exponentiate everything. */

import { greedy, type SamplingParams } from "../../../src/engine/types.js";

export const tempered = (params: Partial<SamplingParams>): SamplingParams => ({
  ...greedy,
  temperature: 1,
  seed: 1,
  ...params,
});

/** Ids above -Infinity in the sampler's order: larger logit first, then lower id. */
export function ranked(row: ArrayLike<number>): number[] {
  const ids = Array.from(row, (_, id) => id).filter((id) => at(row, id) > Number.NEGATIVE_INFINITY);
  return ids.sort((a, b) => at(row, b) - at(row, a) || a - b);
}

export const at = (values: ArrayLike<number>, i: number): number => values[i] ?? Number.NaN;

/** The probability of every token that temperature, min-p, top-k and top-p leave. */
export function distribution(row: ArrayLike<number>, params: SamplingParams): Map<number, number> {
  const order = ranked(row);
  const best = at(row, order[0] ?? 0);
  const weight = (id: number): number => Math.exp((at(row, id) - best) / params.temperature);
  let kept = order.filter((id) => weight(id) >= params.minP && weight(id) > 1e-17);
  if (params.topK > 0) kept = kept.slice(0, params.topK);
  const total = kept.reduce((sum, id) => sum + weight(id), 0);
  let before = 0;
  const inside: number[] = [];
  for (const id of kept) {
    // A prefix within 1e-12 of p has reached it; the best token always stays.
    if (inside.length > 0 && params.topP < 1 && before >= params.topP * total - 1e-12 * total) break;
    inside.push(id);
    before += weight(id);
  }
  const mass = inside.reduce((sum, id) => sum + weight(id), 0);
  return new Map(inside.map((id) => [id, weight(id) / mass]));
}

/** A reproducible source of uniform numbers in (0, 1) that has nothing to do with the sampler's. */
export function lehmer(seed: number): () => number {
  let state = (seed % 2_147_483_646) + 1;
  return () => {
    state = (state * 48_271) % 2_147_483_647;
    return state / 2_147_483_647;
  };
}

/** A row of normal noise. */
export function noise(size: number, sigma: number, seed: number): Float32Array {
  const uniform = lehmer(seed);
  return Float32Array.from({ length: size }, () => {
    return sigma * Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
  });
}

/**
 * Pearson's statistic of `draws` against `expected`, in standard deviations from its mean: (X - f) / sqrt(2 f) with f degrees
 * of freedom. Tokens expected fewer than eight times are pooled.
 */
export function surprise(draws: readonly number[], expected: ReadonlyMap<number, number>): number {
  const counts = new Map<number, number>();
  for (const id of draws) counts.set(id, (counts.get(id) ?? 0) + 1);
  let statistic = 0;
  let cells = 0;
  let pooled = 0;
  let pooledCount = 0;
  const add = (mean: number, count: number): void => {
    statistic += (count - mean) ** 2 / mean;
    cells++;
  };
  for (const [id, probability] of expected) {
    const mean = probability * draws.length;
    if (mean >= 8) add(mean, counts.get(id) ?? 0);
    else {
      pooled += mean;
      pooledCount += counts.get(id) ?? 0;
    }
  }
  if (pooled >= 8) add(pooled, pooledCount);
  const freedom = Math.max(1, cells - 1);
  return (statistic - freedom) / Math.sqrt(2 * freedom);
}
