/** Transposes matrices in typed arrays; fast for LoRA's long, narrow ones. */

import { assert } from "../base/errors.js";

/** Transposes [rows, columns] to [columns, rows], both row-major, into `into` (default: a new array), which must not overlap it. */
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
  // Four rows at a time: their elements are neighbours in the result, which is twice as fast as one row at a time.
  const whole = rows - (rows % 4);
  for (let row = 0; row < whole; row += 4) {
    let first = row * columns;
    let second = first + columns;
    let third = second + columns;
    let fourth = third + columns;
    for (let to = row; to < into.length; to += rows) {
      into[to] = matrix[first++] as number;
      into[to + 1] = matrix[second++] as number;
      into[to + 2] = matrix[third++] as number;
      into[to + 3] = matrix[fourth++] as number;
    }
  }
  for (let row = whole; row < rows; row++) {
    let from = row * columns;
    for (let to = row; to < into.length; to += rows) into[to] = matrix[from++] as number;
  }
  return into;
}
