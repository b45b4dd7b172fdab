/**
 * Single passes over a logits row: the best token, and the refusal of rows that no token can be chosen from. Eight elements
 * a turn, and one branch that is almost never taken: that is what makes them fast in JavaScript.
 */

import { LorikeetError } from "../../base/errors.js";
import { float32At } from "../../base/list.js";

/** The logits of one row from which no token can be chosen, whatever computed them. */
export class RowFault extends LorikeetError {}

/** Refuses the row: NaN, or +Infinity, says that the computation went wrong. */
export function refuseRow(found: number, id: number): never {
  throw new RowFault(
    "runtime_failed",
    `The model computed ${found} as the logit of token ${id}, so no token can be chosen; every logit must be a number below Infinity.`,
    { found, allowed: "finite numbers and -Infinity" },
  );
}

/** Refuses a row in which every token is at -Infinity. */
export function refuseEmptyRow(): never {
  throw new RowFault(
    "runtime_failed",
    "Every logit of the row is -Infinity, so no token can be chosen; at least one must be finite.",
    { found: Number.NEGATIVE_INFINITY, allowed: "one finite logit or more" },
  );
}

/**
 * Whether the eight values from `at` on are all at most `bar`. NaN is not, so it never passes unseen. The scans consist of
 * this one test, which is inlined and nearly always true.
 */
export function eightAtMost(row: Float32Array, at: number, bar: number): boolean {
  return (
    float32At(row, at) <= bar &&
    float32At(row, at + 1) <= bar &&
    float32At(row, at + 2) <= bar &&
    float32At(row, at + 3) <= bar &&
    float32At(row, at + 4) <= bar &&
    float32At(row, at + 5) <= bar &&
    float32At(row, at + 6) <= bar &&
    float32At(row, at + 7) <= bar
  );
}

/**
 * The id of the largest logit of row [vocab], the lowest id among equals.
 * Throws `runtime_failed` for a row with NaN or +Infinity anywhere, or with nothing above -Infinity.
 */
export function argmax(row: Float32Array): number {
  let id = -1;
  let best = Number.NEGATIVE_INFINITY;
  const whole = row.length & ~7;
  for (let i = 0; i < whole; i += 8) {
    if (eightAtMost(row, i, best)) continue;
    id = better(row, i, i + 8, id);
    best = float32At(row, id);
  }
  id = better(row, whole, row.length, id);
  if (id < 0) refuseEmptyRow();
  return id;
}

/** The best of token `id` (-1: none) and those of [begin, end). */
function better(row: Float32Array, begin: number, end: number, id: number): number {
  let leader = id;
  let best = id < 0 ? Number.NEGATIVE_INFINITY : float32At(row, id);
  for (let i = begin; i < end; i++) {
    const x = float32At(row, i);
    if (x <= best) continue;
    if (!(x < Number.POSITIVE_INFINITY)) refuseRow(x, i);
    best = x;
    leader = i;
  }
  return leader;
}
