/** Log-probabilities of a row of unmodified logits: the log-softmax of one token and of the best few. Chooses nothing. */

import { assert } from "../../base/errors.js";
import { float32At, int32At } from "../../base/list.js";
import type { TokenLogprob } from "../types.js";
import type { TokenPool } from "./pool.js";
import { argmax } from "./scan.js";
import { deepest, depthsPerNat, edgeWeight, weightAt } from "./weight.js";

/**
 * log p(id) under softmax(logits) [vocab], and the k best tokens, best first, equals by id; without tokens at -Infinity, so
 * fewer where fewer are possible. Absolute error below 1e-8. `pool` is scratch. Throws `runtime_failed` for rows that
 * `argmax` refuses.
 */
export function tokenLogprob(logits: Float32Array, id: number, k: number, pool: TokenPool): TokenLogprob {
  assert(id >= 0 && id < logits.length, `token ${id} lies in a vocabulary of ${logits.length}`);
  if (k === 0) {
    const best = float32At(logits, argmax(logits));
    return { id, logprob: float32At(logits, id) - best - Math.log(relativeWeight(logits, best)), top: [] };
  }
  pool.best(logits, k);
  pool.sort();
  const best = float32At(pool.values, 0);
  const logTotal = Math.log(relativeWeight(logits, best));
  const top: { id: number; logprob: number }[] = [];
  for (let i = 0; i < pool.count; i++) {
    top.push({ id: int32At(pool.ids, i), logprob: float32At(pool.values, i) - best - logTotal });
  }
  return { id, logprob: float32At(logits, id) - best - logTotal, top };
}

/** How many tokens of the row are likelier than `id`, and one more. */
export function rankOf(logits: Float32Array, id: number): number {
  const own = float32At(logits, id);
  let rank = 1;
  for (let i = 0; i < logits.length; i++) if (float32At(logits, i) > own) rank++;
  return rank;
}

/** The sum of exp(x - best) over the row. */
function relativeWeight(row: Float32Array, best: number): number {
  const edges = edgeWeight;
  const scale = depthsPerNat;
  const limit = deepest;
  let even = 0;
  let odd = 0;
  const whole = row.length & ~1;
  for (let i = 0; i < whole; i += 2) {
    const d0 = (best - float32At(row, i)) * scale;
    const d1 = (best - float32At(row, i + 1)) * scale;
    if (d0 <= limit) even += weightAt(edges, d0);
    if (d1 <= limit) odd += weightAt(edges, d1);
  }
  if (whole < row.length) {
    const depth = (best - float32At(row, whole)) * scale;
    if (depth <= limit) even += weightAt(edges, depth);
  }
  return even + odd;
}
