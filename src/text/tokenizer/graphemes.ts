/** Grapheme clusters (Unicode's Annex 29) in linear time: Node's segmenter takes quadratic time, and is asked only where characters can join. */

import { numberAt } from "../../base/list.js";

const segmenter = new Intl.Segmenter("und", { granularity: "grapheme" });
/** Code units that are segmented at once. */
const segmentedUnits = 256;
const carriageReturn = 0x0d;

/** Characters that never join their like: Latin, Greek, Cyrillic, kana and Chinese ones. */
const isPlain = (code: number): boolean =>
  (code < 0x300 && code !== carriageReturn) ||
  (code >= 0x370 && code <= 0x482) ||
  (code >= 0x48a && code <= 0x52f) ||
  (code >= 0x3041 && code <= 0x3096) ||
  (code >= 0x30a1 && code <= 0x30fa) ||
  (code >= 0x4e00 && code <= 0x9fff);

/** Where the graphemes of a text begin, in UTF-16 code units. Each ends where the next begins. */
export function graphemeStarts(text: string): number[] {
  const starts: number[] = [];
  const isPlainAt = (at: number): boolean => at < 0 || at >= text.length || isPlain(text.charCodeAt(at));
  const isAlone = (at: number): boolean => isPlainAt(at - 1) && isPlainAt(at) && isPlainAt(at + 1);
  for (let begin = 0; begin < text.length; ) {
    let end = begin + 1;
    if (isAlone(begin)) starts.push(begin);
    else {
      while (end < text.length && !isAlone(end)) end++;
      addSegments(starts, text, begin, end);
    }
    begin = end;
  }
  return starts;
}

/** Adds those of `[begin, end)`. What precedes the start of a grapheme does not affect where it ends. */
function addSegments(starts: number[], text: string, begin: number, end: number): void {
  let size = segmentedUnits;
  for (let from = begin; from < end; ) {
    const isLast = from + size >= end;
    const found = Array.from(segmenter.segment(text.slice(from, Math.min(from + size, end))), ({ index }) => index);
    // The last grapheme may go on after what was segmented.
    const known = isLast ? found.length : found.length - 1;
    for (let i = 0; i < known; i++) starts.push(from + numberAt(found, i));
    if (isLast) return;
    const next = numberAt(found, known);
    size = next === 0 ? 2 * size : segmentedUnits;
    from += next;
  }
}
