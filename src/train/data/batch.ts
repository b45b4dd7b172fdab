/** A batch of token rows as a step reads it, and the places in it that carry a label. Knows no text and no file. */
import { assert } from "../../base/errors.js";

/** Rows of equal length, padded or packed. All arrays are [rows * length], row after row. */
export interface TokenBatch {
  readonly rows: number;
  readonly length: number;
  readonly ids: Int32Array;
  /** The token at each place where its prediction counts; -100 elsewhere. The first of a sequence has nothing to be predicted from. */
  readonly labels: Int32Array;
  /** One number for each sequence of a row, 0 for padding; a row is one sequence unless told otherwise. */
  readonly segments?: Int32Array;
  /** Each token's place in its sequence; counted from each segment's start unless told otherwise. */
  readonly positions?: Int32Array;
}

export const noLabel = -100;

/** Where predictions count. */
export interface Labelled {
  /** Flat places of the tokens that predict, rising. */
  readonly places: Int32Array;
  /** What each should predict. */
  readonly labels: Int32Array;
}

/** The labelled places of a batch: labels[t] is predicted at t - 1 of the same sequence. */
export function labelledPlaces(batch: TokenBatch): Labelled {
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
    labels: Int32Array.from(places, (place) => labels[place + 1] ?? noLabel),
  };
}

/** Positions that start at 0 with every row and segment; padding stays at 0, wherever the model's positions end. */
export function countPositions({
  rows,
  length,
  segments,
}: Pick<TokenBatch, "rows" | "length" | "segments">): Int32Array {
  const positions = new Int32Array(rows * length);
  for (let at = 0; at < positions.length; at++) {
    const starts =
      at % length === 0 || (segments !== undefined && (segments[at] === 0 || segments[at] !== segments[at - 1]));
    positions[at] = starts ? 0 : (positions[at - 1] ?? 0) + 1;
  }
  return positions;
}
