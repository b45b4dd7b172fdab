/** Transposing matrices in typed arrays, in tiles that stay in cache. */

import { assert } from "../base/errors.js";

const tile = 32;

/** [rows, columns] to [columns, rows], both row-major, into `into` (a new array unless given), which must not overlap it. */
export function transpose<T extends Float32Array | Uint16Array>(
  matrix: T,
  rows: number,
  columns: number,
  into: T = new (matrix.constructor as new (length: number) => T)(matrix.length),
): T {
  assert(
    matrix.length === rows * columns && into.length === matrix.length,
    `${matrix.length} elements are not [${rows}, ${columns}]`,
  );
  for (let top = 0; top < rows; top += tile) {
    const bottom = Math.min(top + tile, rows);
    for (let left = 0; left < columns; left += tile) {
      const right = Math.min(left + tile, columns);
      for (let row = top; row < bottom; row++) {
        for (let column = left; column < right; column++) {
          into[column * rows + row] = matrix[row * columns + column] as number;
        }
      }
    }
  }
  return into;
}
