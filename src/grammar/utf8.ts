/** Ranges of code points as sequences of byte ranges in UTF-8. Surrogates have no encoding. */
import type { Range } from "./expression.js";

/** Code points whose encodings have the same length. */
const lengths: readonly Range[] = [
  [0, 0x7f],
  [0x80, 0x7ff],
  [0x800, 0xd7ff],
  [0xe000, 0xffff],
  [0x10000, 0x10ffff],
];

/** One sequence of ranges of bytes for each stretch of the code points that has one. */
export function* byteSequences(from: number, to: number): Iterable<readonly Range[]> {
  for (const [first, last] of lengths) {
    const [low, high] = [Math.max(from, first), Math.min(to, last)];
    if (low <= high) yield* split(low, high);
  }
}

/** Splits until the bytes after the first that differs are all of their range. */
function* split(low: number, high: number): Iterable<readonly Range[]> {
  const [a, b] = [encode(low), encode(high)];
  for (let rest = 1; rest < a.length; rest++) {
    const mask = 64 ** rest - 1;
    if ((low & ~mask) === (high & ~mask)) continue;
    if ((low & mask) !== 0) {
      yield* split(low, low | mask);
      yield* split((low | mask) + 1, high);
      return;
    }
    if ((high & mask) !== mask) {
      yield* split(low, (high & ~mask) - 1);
      yield* split(high & ~mask, high);
      return;
    }
  }
  yield a.map((byte, index): Range => [byte, b[index] ?? byte]);
}

function encode(code: number): number[] {
  if (code < 0x80) return [code];
  if (code < 0x800) return [0xc0 | (code >> 6), 0x80 | (code & 63)];
  if (code < 0x10000) return [0xe0 | (code >> 12), 0x80 | ((code >> 6) & 63), 0x80 | (code & 63)];
  return [0xf0 | (code >> 18), 0x80 | ((code >> 12) & 63), 0x80 | ((code >> 6) & 63), 0x80 | (code & 63)];
}
