/** Preference pairs as a step reads them: rows [0, pairs) hold the chosen answers and rows [pairs, 2 pairs) the rejected ones. */
import { assert } from "../base/errors.js";
import { Tensor } from "../runtime/tensor.js";
import type { Labelled, TokenBatch } from "./batch.js";

export interface PreferenceScores {
  /** log p of each pair's chosen answer, summed over its labels. */
  readonly chosen: Float64Array;
  readonly rejected: Float64Array;
}

/** Sums of log-likelihoods by pair, from the token losses of a batch of 2 pairs rows. */
export function preferenceScores(batch: TokenBatch, labelled: Labelled, tokenLosses: Float32Array): PreferenceScores {
  const pairs = pairsOf(batch);
  const sums = new Float64Array(batch.rows);
  labelled.places.forEach((place, i) => {
    const row = Math.floor(place / batch.length);
    sums[row] = (sums[row] ?? 0) - (tokenLosses[i] ?? 0);
  });
  return { chosen: sums.slice(0, pairs), rejected: sums.slice(pairs) };
}

/** β times how much more likely each answer has become than it was in the reference: the implicit rewards. */
export function rewards(beta: number, now: PreferenceScores, reference: PreferenceScores): PreferenceScores {
  const gain = (a: Float64Array, b: Float64Array): Float64Array => a.map((x, i) => beta * (x - (b[i] ?? 0)));
  return { chosen: gain(now.chosen, reference.chosen), rejected: gain(now.rejected, reference.rejected) };
}

/** The inputs of the loss `preference`; `pairWeight` is one over the pairs of the whole effective batch. */
export function preferenceInputs(
  batch: TokenBatch,
  labelled: Labelled,
  reference: PreferenceScores,
  pairWeight: number,
): Map<string, Tensor> {
  const pairs = pairsOf(batch);
  const count = labelled.places.length;
  const signs = new Float32Array(pairs * count);
  labelled.places.forEach((place, i) => {
    const row = Math.floor(place / batch.length);
    signs[(row % pairs) * count + i] = row < pairs ? 1 : -1;
  });
  const margins = Float32Array.from(reference.chosen, (x, i) => x - (reference.rejected[i] ?? 0));
  return new Map<string, Tensor>([
    ["pair_signs", Tensor.from("float32", [pairs, count], signs)],
    ["reference_margins", Tensor.from("float32", [pairs], margins)],
    ["pair_weights", Tensor.from("float32", [pairs], new Float32Array(pairs).fill(pairWeight))],
  ]);
}

function pairsOf({ rows }: TokenBatch): number {
  assert(rows % 2 === 0, `${rows} rows are pairs`);
  return rows / 2;
}
