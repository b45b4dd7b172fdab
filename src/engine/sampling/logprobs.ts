/** Log-probabilities of a row of unmodified logits: the log-softmax of one token and of the best few. Chooses nothing. */

import { assert } from "../../base/errors.js";
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
    const best = logits[argmax(logits)] ?? 0;
    return { id, logprob: (logits[id] ?? 0) - best - Math.log(relativeWeight(logits, best)), top: [] };
  }
  pool.best(logits, k);
  pool.sort();
  const best = pool.values[0] ?? 0;
  const logTotal = Math.log(relativeWeight(logits, best));
  const top: { id: number; logprob: number }[] = [];
  for (let i = 0; i < pool.count; i++) {
    top.push({ id: pool.ids[i] ?? 0, logprob: (pool.values[i] ?? 0) - best - logTotal });
  }
  return { id, logprob: (logits[id] ?? 0) - best - logTotal, top };
}

/** How many tokens of the row are likelier than `id`, and one more. */
export function rankOf(logits: Float32Array, id: number): number {
  const own = logits[id] ?? Number.NEGATIVE_INFINITY;
  let rank = 1;
  for (let i = 0; i < logits.length; i++) if ((logits[i] ?? 0) > own) rank++;
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
    const d0 = (best - (row[i] ?? 0)) * scale;
    const d1 = (best - (row[i + 1] ?? 0)) * scale;
    if (d0 <= limit) even += weightAt(edges, d0);
    if (d1 <= limit) odd += weightAt(edges, d1);
  }
  if (whole < row.length) {
    const depth = (best - (row[whole] ?? 0)) * scale;
    if (depth <= limit) even += weightAt(edges, depth);
  }
  return even + odd;
}
