/** Converts floats to decimal digits exactly, rounded half to even, as Python prints them. */

import { spendCharacters } from "./budget.js";

/** digits × 10^(point - digits.length): `point` is the position of the decimal point, counted from the first digit. */
interface Decimal {
  readonly digits: string;
  readonly point: number;
}

/** repr(float): the shortest digits that read back as the same float. */
export function reprFloat(value: number): string {
  if (Number.isNaN(value)) return "nan";
  if (!Number.isFinite(value)) return value > 0 ? "inf" : "-inf";
  const sign = value < 0 || Object.is(value, -0) ? "-" : "";
  const { digits, point } = shortest(Math.abs(value));
  if (point > 16 || point < -3) return sign + scientific({ digits, point }, "e");
  const text = positional({ digits, point });
  return sign + (text.includes(".") ? text : `${text}.0`);
}

/** The shortest digits that read back as the same float, without trailing zeros. */
export function shortest(value: number): Decimal {
  if (value === 0) return { digits: "0", point: 1 };
  const [mantissa = "", exponent = "0"] = value.toExponential().split("e");
  return { digits: mantissa.replace(".", ""), point: Number(exponent) + 1 };
}

export function scientific({ digits, point }: Decimal, letter: string): string {
  const exponent = point - 1;
  const fraction = digits.length > 1 ? `.${digits.slice(1)}` : "";
  return `${digits[0]}${fraction}${letter}${exponent < 0 ? "-" : "+"}${String(Math.abs(exponent)).padStart(2, "0")}`;
}

export function positional({ digits, point }: Decimal): string {
  if (point <= 0) return `0.${"0".repeat(-point)}${digits}`;
  if (point >= digits.length) return digits + "0".repeat(point - digits.length);
  return `${digits.slice(0, point)}.${digits.slice(point)}`;
}

/** A finite, non-negative float as numerator / denominator. */
function fraction(value: number): [bigint, bigint] {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, value);
  const bits = view.getBigUint64(0);
  const biased = Number((bits >> 52n) & 0x7ffn);
  const stored = bits & 0xfffffffffffffn;
  const mantissa = biased === 0 ? stored : stored | 0x10000000000000n;
  const exponent = Math.max(biased, 1) - 1075;
  return exponent >= 0 ? [mantissa << BigInt(exponent), 1n] : [mantissa, 1n << BigInt(-exponent)];
}

function divideHalfEven(numerator: bigint, denominator: bigint): bigint {
  const quotient = numerator / denominator;
  const twice = (numerator % denominator) * 2n;
  return twice > denominator || (twice === denominator && quotient % 2n === 1n) ? quotient + 1n : quotient;
}

/** `value` × 10^places as an integer, rounded half to even. */
function scaledHalfEven(value: number, places: number): bigint {
  const [numerator, denominator] = fraction(value);
  const scale = 10n ** BigInt(Math.abs(places));
  return places >= 0 ? divideHalfEven(numerator * scale, denominator) : divideHalfEven(numerator, denominator * scale);
}

/** A non-negative float with `places` digits after the point. */
export function fixed(value: number, places: number): string {
  spendCharacters(places * 8);
  const digits = scaledHalfEven(value, places)
    .toString()
    .padStart(places + 1, "0");
  return places === 0 ? digits : `${digits.slice(0, -places)}.${digits.slice(-places)}`;
}

/** A non-negative float with `count` significant digits. */
export function significant(value: number, count: number): Decimal {
  spendCharacters(count * 8);
  if (value === 0) return { digits: "0".repeat(count), point: 1 };
  let { point } = shortest(value);
  let digits = scaledHalfEven(value, count - point).toString();
  if (digits.length > count) digits = scaledHalfEven(value, count - ++point).toString();
  return { digits, point };
}

/** round(float, places) for any float. */
export function roundFloat(value: number, places: number): number {
  if (!Number.isFinite(value) || value === 0 || places > 330) return value;
  if (places < -330) return value < 0 ? -0 : 0;
  const scaled = Number(`${scaledHalfEven(Math.abs(value), places)}e${-places}`);
  return value < 0 ? -scaled : scaled;
}
