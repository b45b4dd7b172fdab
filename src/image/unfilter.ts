/** Undoes the filters of PNG's rows, in place: each row is a byte that names its filter, and the differences it left. */

import { invalidImage } from "./faults.js";

/** `pixelBytes`: how far back the pixel on the left is. @throws LorikeetError `image_invalid` for an unknown filter. */
export function unfilter(rows: Uint8Array, bytesOfRow: number, pixelBytes: number): void {
  const width = bytesOfRow - 1;
  let above: Uint8Array = new Uint8Array(width);
  for (let begin = 0; begin < rows.length; begin += bytesOfRow) {
    const row = rows.subarray(begin + 1, begin + bytesOfRow);
    const filter = filters[rows[begin] ?? -1];
    if (!filter) throw invalidImage(`is not a valid PNG: a row has the unknown filter ${rows[begin]}`);
    filter(row, above, pixelBytes);
    above = row;
  }
}

type Filter = (row: Uint8Array, above: Uint8Array, back: number) => void;

/** A byte of a row; left of the first pixel all bytes are 0. */
const byteAt = (row: Uint8Array, index: number): number => row[index] ?? 0;

const filters: readonly Filter[] = [
  () => {},
  (row, _above, back) => {
    for (let i = back; i < row.length; i++) row[i] = byteAt(row, i) + byteAt(row, i - back);
  },
  (row, above) => {
    for (let i = 0; i < row.length; i++) row[i] = byteAt(row, i) + byteAt(above, i);
  },
  (row, above, back) => {
    for (let i = 0; i < row.length; i++) row[i] = byteAt(row, i) + ((byteAt(row, i - back) + byteAt(above, i)) >> 1);
  },
  (row, above, back) => {
    for (let i = 0; i < row.length; i++)
      row[i] = byteAt(row, i) + paeth(byteAt(row, i - back), byteAt(above, i), byteAt(above, i - back));
  },
];

/** The neighbour nearest to left + above - corner. */
function paeth(left: number, above: number, corner: number): number {
  const [toLeft, toAbove, toCorner] = [
    Math.abs(above - corner),
    Math.abs(left - corner),
    Math.abs(left + above - 2 * corner),
  ];
  if (toLeft <= toAbove && toLeft <= toCorner) return left;
  return toAbove <= toCorner ? above : corner;
}
