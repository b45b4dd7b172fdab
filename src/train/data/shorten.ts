/** Rows cut to a length, and the labels that they have. Knows no text. */
import type { TokenRow } from "./encode.js";

/** Tokens that are learned and that something predicts. */
export function countLabels({ trained }: TokenRow): number {
  let count = 0;
  for (let i = 1; i < trained.length; i++) count += trained[i] ?? 0;
  return count;
}

/**
 * A row of at most `length` tokens: the start of the prompt goes first (but for a beginning-of-text token, and the prompt's
 * last token, which predicts the completion's first), then the end of the completion.
 */
export function shorten(row: TokenRow, length: number, bosId: number | null): TokenRow {
  const { ids, trained, promptLength } = row;
  const excess = ids.length - length;
  if (excess <= 0) return row;
  const head = bosId !== null && ids[0] === bosId && promptLength > 1 ? 1 : 0;
  const cut = Math.max(0, Math.min(excess, promptLength - head - 1));
  const places = Int32Array.from({ length: Math.min(ids.length - cut, length) }, (_, i) => (i < head ? i : i + cut));
  return {
    ...row,
    ids: places.map((place) => ids[place] ?? 0),
    trained: Uint8Array.from(places, (place) => trained[place] ?? 0),
    promptLength: promptLength - cut,
  };
}
