/** Rows cut to a length, and the labels that they have. Knows no text. */
import type { TokenPair, TokenRow } from "./encode.js";

/** Tokens that are learned and that something predicts. */
export function countLabels({ trained }: TokenRow): number {
  let count = 0;
  for (let i = 1; i < trained.length; i++) count += trained[i] ?? 0;
  return count;
}

/**
 * A row of at most `length` tokens that keeps its last answer. The start of what stands before that goes first, but for a
 * beginning-of-text token and the token that predicts the answer's first; then the end of the answer. What is left of an earlier
 * answer whose start is gone is not learned: it would be learned behind nothing.
 */
export function shorten(row: TokenRow, length: number, bosId: number | null): TokenRow {
  return cutFront(row, mostCut(row, length, bosId), length, bosId);
}

/** Both rows of a pair, cut at the same place: they go on behind one prompt. */
export function shortenPair([chosen, rejected]: TokenPair, length: number, bosId: number | null): TokenPair {
  const cut = Math.max(mostCut(chosen, length, bosId), mostCut(rejected, length, bosId));
  return [cutFront(chosen, cut, length, bosId), cutFront(rejected, cut, length, bosId)];
}

/** Tokens to take from the start: the excess, as far as what stands before the last answer goes. */
function mostCut(row: TokenRow, length: number, bosId: number | null): number {
  const excess = row.ids.length - length;
  return Math.max(0, Math.min(excess, lastAnswer(row) - headOf(row, bosId) - 1));
}

/** 1 for a row whose first token begins the text. */
const headOf = ({ ids, promptLength }: TokenRow, bosId: number | null): number =>
  bosId !== null && ids[0] === bosId && promptLength > 1 ? 1 : 0;

/** Where the last stretch of learned tokens begins. */
function lastAnswer({ trained, promptLength }: TokenRow): number {
  const end = trained.lastIndexOf(1);
  return end < 0 ? promptLength : Math.max(trained.lastIndexOf(0, end) + 1, promptLength);
}

function cutFront(row: TokenRow, cut: number, length: number, bosId: number | null): TokenRow {
  const { ids, trained, promptLength } = row;
  if (ids.length <= length && cut === 0) return row;
  const head = headOf(row, bosId);
  const places = Int32Array.from({ length: Math.min(ids.length - cut, length) }, (_, i) => (i < head ? i : i + cut));
  const kept = Uint8Array.from(places, (place) => trained[place] ?? 0);
  const first = head + cut;
  if (cut > 0 && trained[first] === 1 && trained[first - 1] === 1 && trained.indexOf(0, first) >= 0) {
    for (let i = head; i < kept.length && kept[i] === 1; i++) kept[i] = 0;
  }
  return {
    ...row,
    ids: places.map((place) => ids[place] ?? 0),
    trained: kept,
    promptLength: cut === 0 ? promptLength : Math.max(head, kept.indexOf(1)),
  };
}
