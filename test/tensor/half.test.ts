import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { bfloat16ToFloat32, float16ToFloat32, float32ToBfloat16, float32ToFloat16 } from "../../src/tensor/half.js";

const every16 = Uint16Array.from({ length: 65536 }, (_, bits) => bits);
const isNan16 = (bits: number): boolean => (bits & 0x7c00) === 0x7c00 && (bits & 0x3ff) !== 0;

/** What the IEEE formula says, in doubles. */
function float16Value(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 0x3ff;
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

test("every float16 widens exactly", () => {
  const values = float16ToFloat32(every16);
  for (let bits = 0; bits < 65536; bits++)
    assert.ok(Object.is(values[bits], float16Value(bits)), `0x${bits.toString(16)}`);
});

test("every float16 and bfloat16 survives a round trip through float32", () => {
  const f16 = float32ToFloat16(float16ToFloat32(every16));
  const bf16 = float32ToBfloat16(bfloat16ToFloat32(every16));
  for (let bits = 0; bits < 65536; bits++) {
    if (isNan16(bits)) assert.ok(isNan16(f16[bits] as number));
    else assert.equal(f16[bits], bits);
    const isNan = (bits & 0x7f80) === 0x7f80 && (bits & 0x7f) !== 0;
    assert.equal(bf16[bits], isNan ? bits | 0x40 : bits);
  }
});

/** Rounds by trying both neighbours: slow and plainly right. */
function nearestFloat16(value: number): number {
  const magnitude = Math.abs(value);
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  if (magnitude >= 65520) return sign | 0x7c00;
  let low = 0;
  let high = 0x7bff;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (float16Value(middle) <= magnitude) low = middle;
    else high = middle - 1;
  }
  const below = magnitude - float16Value(low);
  const above = (low === 0x7bff ? 65536 : float16Value(low + 1)) - magnitude;
  return sign | (below < above || (below === above && low % 2 === 0) ? low : low + 1);
}

test("float32 rounds to the nearest float16, ties to even", () => {
  const edges = [
    2 ** -25,
    2 ** -25 * 1.0001,
    2 ** -24 * 1.5,
    2 ** -14 - 2 ** -26,
    65504,
    65519.99,
    65520,
    1 + 2 ** -11,
  ];
  const float = fc.float({ noNaN: true, min: -70000, max: 70000 });
  const check = (value: number): void => {
    const single = Math.fround(value);
    assert.equal(float32ToFloat16(Float32Array.of(single))[0], nearestFloat16(single), String(single));
  };
  for (const edge of edges) for (const value of [edge, -edge]) check(value);
  fc.assert(fc.property(float, check), { numRuns: 2000 });
  fc.assert(
    fc.property(float, (value) => check(value * 2 ** -22)),
    { numRuns: 2000 },
  );
});

test("float32 rounds to the nearest bfloat16, ties to even", () => {
  const round = (value: number): number => float32ToBfloat16(Float32Array.of(value))[0] as number;
  assert.equal(round(1 + 2 ** -8), 0x3f80); // tie, even below
  assert.equal(round(1 + 3 * 2 ** -8), 0x3f82); // tie, even above
  assert.equal(round(1 + 2 ** -8 + 2 ** -20), 0x3f81);
  assert.equal(round(3.4028234663852886e38), 0x7f80); // rounds up to infinity
  assert.equal(round(Number.NEGATIVE_INFINITY), 0xff80);
  assert.equal(round(2 ** -149), 0);
  assert.ok(Number.isNaN(bfloat16ToFloat32(Uint16Array.of(round(Number.NaN)))[0]));
});

test("conversion works on views at an offset in their buffer", () => {
  const halves = new Uint16Array(new ArrayBuffer(10), 2, 3).fill(0x3c00);
  const into = new Float32Array(new ArrayBuffer(20), 4, 3);
  assert.deepEqual([...float16ToFloat32(halves, into)], [1, 1, 1]);
  assert.deepEqual([...float32ToFloat16(into)], [0x3c00, 0x3c00, 0x3c00]);
  assert.throws(() => float16ToFloat32(halves, new Float32Array(2)), /converting 3 elements into an array of 2/);
});
