/** Cuts rows to a maximum length, and counts their labels. */
import { at, int32At } from "../../base/list.js";
import type { TokenPair, TokenRow } from "./encode.js";

/** Number of tokens that count in the loss. */
export function countLabels({ trained }: TokenRow): number {
  let count = 0;
  for (let i = 1; i < trained.length; i++) count += at(trained, i);
  return count;
}

/**
 * Cuts a row to at most `length` tokens and keeps its last answer. First it cuts the start of what precedes the answer, except a
 * beginning-of-text token and the token that predicts the answer's first; then the end of the answer. The rest of an earlier answer
 * that lost its start does not count in the loss.
 */
export function shorten(row: TokenRow, length: number, bosId: number | null): TokenRow {
  return cutFront(row, mostCut(row, length, bosId), length, bosId);
}

/** Cuts both rows of a pair at the same position, since they share a prompt. */
export function shortenPair([chosen, rejected]: TokenPair, length: number, bosId: number | null): TokenPair {
  const cut = Math.max(mostCut(chosen, length, bosId), mostCut(rejected, length, bosId));
  return [cutFront(chosen, cut, length, bosId), cutFront(rejected, cut, length, bosId)];
}

/** Tokens to cut from the start: the excess, up to the tokens before the last answer. */
function mostCut(row: TokenRow, length: number, bosId: number | null): number {
  const excess = row.ids.length - length;
  return Math.max(0, Math.min(excess, lastAnswer(row) - headOf(row, bosId) - 1));
}

/** 1 if the first token is a beginning-of-text token. */
const headOf = ({ ids, promptLength }: TokenRow, bosId: number | null): number =>
  bosId !== null && ids[0] === bosId && promptLength > 1 ? 1 : 0;

/** Start of the last run of tokens that count in the loss. */
function lastAnswer({ trained, promptLength }: TokenRow): number {
  const end = trained.lastIndexOf(1);
  return end < 0 ? promptLength : Math.max(trained.lastIndexOf(0, end) + 1, promptLength);
}

function cutFront(row: TokenRow, cut: number, length: number, bosId: number | null): TokenRow {
  const { ids, trained, promptLength } = row;
  if (ids.length <= length && cut === 0) return row;
  const head = headOf(row, bosId);
  const places = Int32Array.from({ length: Math.min(ids.length - cut, length) }, (_, i) => (i < head ? i : i + cut));
  const kept = Uint8Array.from(places, (place) => at(trained, place));
  const first = head + cut;
  if (cut > 0 && trained[first] === 1 && trained[first - 1] === 1 && trained.indexOf(0, first) >= 0) {
    for (let i = head; i < kept.length && kept[i] === 1; i++) kept[i] = 0;
  }
  return {
    ...row,
    ids: places.map((place) => int32At(ids, place)),
    trained: kept,
    promptLength: cut === 0 ? promptLength : Math.max(head, kept.indexOf(1)),
  };
}
