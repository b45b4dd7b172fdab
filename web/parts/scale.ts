/** The scale of an axis, with round numbers to mark on it. */
import { formatCount } from "./format.js";

export interface Tick {
  /** From 0 at the scale's lower end to 1. */
  readonly place: number;
  readonly text: string;
}

export interface Scale {
  readonly low: number;
  readonly high: number;
  readonly ticks: readonly Tick[];
}

/** From `low` to `high`, rounded outward to ticks 1, 2 or 5 times a power of ten apart: about `count` of them. */
export function roundScale(low: number, high: number, count: number): Scale {
  const step = roundStep((high > low ? high - low : Math.abs(high) || 1) / count);
  const [first, last] = [Math.floor(low / step), Math.max(Math.ceil(high / step), Math.floor(low / step) + 1)];
  const ticks = Array.from({ length: last - first + 1 }, (_, i) => ({
    place: i / (last - first),
    text: textOf((first + i) * step),
  }));
  return { low: first * step, high: last * step, ticks };
}

/** From 0 to `end`, with about `count` ticks at whole numbers. */
export function countScale(end: number, count: number): Scale {
  const step = Math.max(1, roundStep(end / count));
  const ticks = Array.from({ length: Math.floor(end / step) + 1 }, (_, i) => ({
    place: (i * step) / end,
    text: textOf(i * step),
  }));
  return { low: 0, high: end, ticks };
}

function roundStep(rough: number): number {
  const power = 10 ** Math.floor(Math.log10(rough));
  return power * ([1, 2, 5].find((factor) => factor * power >= rough) ?? 10);
}

/** Without the dust of binary fractions. */
const textOf = (value: number): string =>
  Math.abs(value) >= 1000 ? formatCount(value) : String(Number(value.toPrecision(12)));
