import { assert } from "./errors.js";
import { at } from "./list.js";

/** The median; of an even number of samples the mean of the two middle ones. */
export function median(samples: readonly number[]): number {
  assert(samples.length > 0, "a median needs at least one sample");
  const sorted = [...samples].sort((a, b) => a - b);
  const upper = sorted.length >> 1;
  const lower = sorted.length % 2 === 0 ? upper - 1 : upper;
  return (at(sorted, lower) + at(sorted, upper)) / 2;
}
