/**
 * The minimum number of tokens and labels of a run at which its results are bit-identical on one thread and on two. ONNX Runtime's
 * float matrix product sums over blocks of 128, or longer blocks if few columns are left. With more columns than rows, it splits
 * the columns among threads, and half of 128 columns is few. With at least as many rows as columns, it splits the rows.
 */
import type { TargetModule } from "../model/blueprint.js";

const fewColumns = 128;
/** Most target modules that share an input and therefore a joined A. */
const joinedParts = 3;

/** The widest narrow product of these layers, in columns; 1 without one. */
export function narrowColumns(linears: readonly TargetModule[], ranks: readonly number[]): number {
  const widths = linears.flatMap(({ inFeatures, outFeatures }) => [inFeatures, outFeatures]);
  const joined = [...new Set(ranks)].flatMap((rank) => Array.from({ length: joinedParts }, (_, i) => (i + 1) * rank));
  return narrowWidths([...widths, ...joined]);
}

/** The widest narrow one, or 1: rows that a product needs for threads to split rows, not columns. */
export function narrowWidths(widths: readonly number[]): number {
  return Math.max(1, ...[...new Set(widths)].filter((width) => width <= fewColumns));
}
