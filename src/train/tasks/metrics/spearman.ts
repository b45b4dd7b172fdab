/** Spearman's rank correlation (Spearman 1904): Pearson's correlation of ranks, where equal values share the mean of their ranks. */

import { at } from "../../../base/list.js";

/** From -1 to 1; 0 if all values of a side are equal. */
export function spearman(a: readonly number[], b: readonly number[]): number {
  return pearson(ranksOf(a), ranksOf(b));
}

function ranksOf(values: readonly number[]): number[] {
  const order = values.map((value, place) => ({ value, place })).sort((a, b) => a.value - b.value);
  const ranks = new Array<number>(values.length).fill(0);
  for (let start = 0; start < order.length; ) {
    let end = start + 1;
    while (order[end]?.value === order[start]?.value && end < order.length) end++;
    for (const { place } of order.slice(start, end)) ranks[place] = (start + end - 1) / 2;
    start = end;
  }
  return ranks;
}

function pearson(a: readonly number[], b: readonly number[]): number {
  const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
  const [meanA, meanB] = [mean(a), mean(b)];
  let [product, first, second] = [0, 0, 0];
  for (const [i, value] of a.entries()) {
    const [x, y] = [value - meanA, at(b, i) - meanB];
    product += x * y;
    first += x * x;
    second += y * y;
  }
  const length = Math.sqrt(first * second);
  return length === 0 ? 0 : product / length;
}
