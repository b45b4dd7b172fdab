/** A batch of token rows, and the positions in it that have labels. */

import { assert } from "../../base/errors.js";
import { int32At } from "../../base/list.js";

/** Rows of equal length, padded or packed. All arrays are [rows * length], row after row. */
export interface TokenBatch {
  readonly rows: number;
  readonly length: number;
  readonly ids: Int32Array;
  /** The token at each position whose prediction counts; -100 elsewhere. The first token of a sequence cannot be predicted. */
  readonly labels: Int32Array;
  /** A number for each sequence of a row, 0 for padding. Default: each row is one sequence. */
  readonly segments?: Int32Array;
  /** Position of each token in its sequence. Default: counted from the start of each segment. */
  readonly positions?: Int32Array;
  /** Replaces `labels` where tokens predict something else than the next token. */
  readonly labelled?: Labelled;
}

export const noLabel = -100;

/** The positions whose predictions count. */
export interface Labelled {
  /** Flat positions of the predicting tokens, in ascending order. */
  readonly places: Int32Array;
  /** The token, or the index of the label, that each should predict. */
  readonly labels: Int32Array;
}

/** The batch's own, or: labels[t] is predicted at t - 1 of the same sequence. */
export function labelledPlaces(batch: TokenBatch): Labelled {
  if (batch.labelled) return batch.labelled;
  const { rows, length, labels, segments } = batch;
  assert(labels.length === rows * length && batch.ids.length === rows * length, `a batch of ${rows} by ${length}`);
  const places: number[] = [];
  for (let row = 0; row < rows; row++) {
    for (let at = row * length + 1; at < (row + 1) * length; at++) {
      if (labels[at] !== noLabel && (!segments || segments[at] === segments[at - 1])) places.push(at - 1);
    }
  }
  return {
    places: Int32Array.from(places),
    labels: Int32Array.from(places, (place) => int32At(labels, place + 1)),
  };
}

/** Positions that restart at 0 with every row and segment. Padding has position 0, which every model has. */
export function countPositions({
  rows,
  length,
  segments,
}: Pick<TokenBatch, "rows" | "length" | "segments">): Int32Array {
  const positions = new Int32Array(rows * length);
  for (let at = 0; at < positions.length; at++) {
    const starts =
      at % length === 0 || (segments !== undefined && (segments[at] === 0 || segments[at] !== segments[at - 1]));
    positions[at] = starts ? 0 : int32At(positions, at - 1) + 1;
  }
  return positions;
}
