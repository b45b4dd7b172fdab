/** Draws the rows of an epoch's steps. Rows of similar length share a step, so that little is padded. */

import { at } from "../../base/list.js";
import { Draws, purposes } from "../random.js";

export interface DrawOptions {
  readonly seed: number;
  /** Steps whose rows are drawn together and sorted by length. */
  readonly lengthWindow: number;
}

/** Indices of the rows of each step. `lengths`: of the rows. One step of an epoch may have fewer rows. */
export function drawSteps(
  lengths: readonly number[],
  stepRows: number,
  { seed, lengthWindow }: DrawOptions,
  epoch: number,
): number[][] {
  const order = [...new Draws(seed, purposes.shuffle, epoch).permutation(lengths.length)];
  const steps = slices(order, stepRows * lengthWindow).flatMap((window) => {
    window.sort((a, b) => at(lengths, a) - at(lengths, b)); // stable: equal lengths stay in the drawn order
    return slices(window, stepRows);
  });
  return shuffled(steps, new Draws(seed, purposes.shuffle, epoch, 1));
}

/** Splits a list into pieces of `size`; the last may be shorter. */
export function slices<T>(list: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(list.length / size) }, (_, i) => list.slice(i * size, (i + 1) * size));
}

export function shuffled<T extends NonNullable<unknown>>(items: readonly T[], draws: Draws): T[] {
  return [...draws.permutation(items.length)].map((i) => at(items, i));
}
