/** The scale of a live chart: from 0 to a round number whose half is round too. It grows at once and shrinks late, so that lines seldom jump. */
import type { Tick } from "../parts/scale.js";

/** How values are written, and the scale that a quiet server's chart has. */
export interface Unit {
  show(value: number): string;
  /** The smallest top of the scale. */
  readonly least: number;
  /** Bytes are round in powers of 2. */
  readonly isBinary?: boolean;
}

/** The top that a scale needs for a value. */
export function topFor(value: number, { least, isBinary = false }: Unit): number {
  const wanted = Math.max(value, least);
  if (isBinary) return 2 ** Math.ceil(Math.log2(wanted));
  const power = 10 ** Math.floor(Math.log10(wanted));
  return power * ([1, 2, 4, 10].find((factor) => factor * power >= wanted) ?? 10);
}

/** The top after `before`: a lower one only once the values fill less than a quarter of it. */
export function nextTop(before: number, value: number, unit: Unit): number {
  const wanted = topFor(value, unit);
  return wanted > before || value < before / 4 ? wanted : before;
}

export const ticksOf = (top: number, { show }: Unit): readonly Tick[] => [
  { place: 0, text: "0" },
  { place: 0.5, text: show(top / 2) },
  { place: 1, text: show(top) },
];
