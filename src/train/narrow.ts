/**
 * How few tokens, and how few labels, a run may have so that its bits do not depend on whether one thread computes or two. ONNX Runtime's float
 * product sums over blocks of 128, or longer ones where few columns are left: where there are more columns than rows it
 * divides the columns among threads, and half of 128 columns is few. With as many rows as columns it divides the rows.
 */
import type { TargetModule } from "../model/blueprint.js";

const fewColumns = 128;
/** Parts that share an input, at most: their A are joined. */
const joinedParts = 3;

/** The widest narrow product of these layers, in columns; 1 where there is none. */
export function narrowColumns(linears: readonly TargetModule[], ranks: readonly number[]): number {
  const widths = linears.flatMap(({ inFeatures, outFeatures }) => [inFeatures, outFeatures]);
  const joined = [...new Set(ranks)].flatMap((rank) => Array.from({ length: joinedParts }, (_, i) => (i + 1) * rank));
  return narrowWidths([...widths, ...joined]);
}

/** The widest narrow one, or 1: rows that a product must have so that threads divide them and not its columns. */
export function narrowWidths(widths: readonly number[]): number {
  return Math.max(1, ...[...new Set(widths)].filter((width) => width <= fewColumns));
}
