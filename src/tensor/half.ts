/**
 * Converts float16 and bfloat16 to float32 and back, over typed arrays. Widening is exact, including subnormals, infinities and
 * NaN payloads. Narrowing rounds to nearest, ties to even (IEEE 754). Half-precision arrays hold raw bits.
 */

import { assert } from "../base/errors.js";

let table: Uint32Array | undefined;

/** The float32 bits of every float16: 256 KiB, built on first use. */
function float16Table(): Uint32Array {
  if (table) return table;
  table = new Uint32Array(65536);
  for (let half = 0; half < 65536; half++) table[half] = float16Bits(half);
  return table;
}

function float16Bits(half: number): number {
  const sign = (half & 0x8000) << 16;
  const exponent = (half >>> 10) & 0x1f;
  const fraction = half & 0x3ff;
  if (exponent === 31) return (sign | 0x7f800000 | (fraction << 13)) >>> 0;
  if (exponent > 0) return (sign | ((exponent + 112) << 23) | (fraction << 13)) >>> 0;
  if (fraction === 0) return sign >>> 0;
  // Subnormal: fraction * 2^-24, normalised by the position of its highest bit.
  const top = 31 - Math.clz32(fraction);
  return (sign | ((top + 103) << 23) | ((fraction << (23 - top)) & 0x7fffff)) >>> 0;
}

function bitsOf(values: Float32Array): Uint32Array {
  return new Uint32Array(values.buffer, values.byteOffset, values.length);
}

function checkLengths(from: number, to: number): void {
  assert(from === to, `converting ${from} elements into an array of ${to}`);
}

/** float16 bits [n] to float32 [n]. */
export function float16ToFloat32(halves: Uint16Array, into = new Float32Array(halves.length)): Float32Array {
  checkLengths(halves.length, into.length);
  const lookup = float16Table();
  const bits = bitsOf(into);
  for (let i = 0; i < halves.length; i++) bits[i] = lookup[halves[i] as number] as number;
  return into;
}

/** bfloat16 bits [n] to float32 [n]. */
export function bfloat16ToFloat32(halves: Uint16Array, into = new Float32Array(halves.length)): Float32Array {
  checkLengths(halves.length, into.length);
  const bits = bitsOf(into);
  for (let i = 0; i < halves.length; i++) bits[i] = (halves[i] as number) << 16;
  return into;
}

/** float32 [n] to float16 bits [n]; 65,520 and above become infinity. */
export function float32ToFloat16(values: Float32Array, into = new Uint16Array(values.length)): Uint16Array {
  checkLengths(values.length, into.length);
  const bits = bitsOf(values);
  for (let i = 0; i < bits.length; i++) into[i] = roundToFloat16(bits[i] as number);
  return into;
}

function roundToFloat16(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00 | ((magnitude >>> 13) & 0x3ff);
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  if (magnitude >= 0x38800000) return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13);
  if (magnitude <= 0x33000000) return sign; // at most 2^-25, half of the smallest subnormal: a tie rounds to zero
  // Subnormal: count units of 2^-24.
  const shift = 126 - (magnitude >>> 23); // 14 to 24
  const mantissa = (magnitude & 0x7fffff) | 0x800000;
  return sign | ((mantissa + (1 << (shift - 1)) - 1 + ((mantissa >>> shift) & 1)) >>> shift);
}

/** float32 [n] to bfloat16 bits [n]. */
export function float32ToBfloat16(values: Float32Array, into = new Uint16Array(values.length)): Uint16Array {
  checkLengths(values.length, into.length);
  const bits = bitsOf(values);
  for (let i = 0; i < bits.length; i++) {
    const word = bits[i] as number;
    into[i] =
      (word & 0x7fffffff) > 0x7f800000
        ? (word >>> 16) | 0x40 // NaN stays NaN, as a quiet one
        : (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
  }
  return into;
}
