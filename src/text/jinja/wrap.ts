/** Wraps lines as Python's textwrap does, each line of a text as a separate paragraph. */

import { spend, spendCharacters } from "./budget.js";
import { valueFault } from "./faults.js";
import { codePoints, lengthOf, splitLines } from "./unicode.js";

export interface WrapOptions {
  readonly width: number;
  readonly joint: string;
  readonly breakLongWords: boolean;
  readonly breakOnHyphens: boolean;
}

export function wrapLines(text: string, options: WrapOptions): string {
  spendCharacters(text.length);
  return splitLines(text)
    .map((line) => wrapParagraph(line, options).join(options.joint))
    .join(options.joint);
}

const [space, solid, word, punctuation, letter] = [
  "[\\t-\\r ]",
  "[^\\t-\\r ]",
  "[\\p{L}\\p{N}_]",
  "[\\p{L}\\p{N}_!\"'&.,?]",
  "[\\p{L}_]",
];
/** White space, dashes between words, or a word up to a hyphen after which it may break. */
const chunkPattern = new RegExp(
  `(${space}+|(?<=${punctuation})-{2,}(?=${word})|${solid}+?(?:-(?:(?<=${letter}{2}-)|(?<=${letter}-${punctuation}-))(?=${letter}-?${letter})|(?=${space}|$)|(?<=${punctuation})(?=-{2,}${word})))`,
  "u",
);
const spacePattern = new RegExp(`(${space}+)`);

function wrapParagraph(line: string, { width, breakLongWords, breakOnHyphens }: WrapOptions): string[] {
  if (width <= 0) valueFault(`invalid width ${width} (must be > 0)`);
  const chunks = line.split(breakOnHyphens ? chunkPattern : spacePattern).filter((chunk) => chunk !== "");
  chunks.reverse();
  const lines: string[] = [];
  while (chunks.length > 0) {
    spend();
    if (lines.length > 0 && isBlank(chunks.at(-1))) chunks.pop();
    const current: string[] = [];
    let room = width;
    let chunk = chunks.pop();
    for (; chunk !== undefined && lengthOf(chunk) <= room; chunk = chunks.pop()) {
      room -= lengthOf(chunk);
      current.push(chunk);
    }
    if (chunk !== undefined && lengthOf(chunk) > width && breakLongWords) {
      const [begin, rest] = breakWord(chunk, Math.max(room, width < 1 ? 1 : room), breakOnHyphens);
      current.push(begin);
      chunks.push(rest);
    } else if (chunk !== undefined) {
      const isAlone = current.length === 0; // a word too long for any line gets its own
      (isAlone ? current : chunks).push(chunk);
    }
    if (isBlank(current.at(-1))) current.pop();
    if (current.length > 0) lines.push(current.join(""));
  }
  return lines;
}

const isBlank = (chunk: string | undefined): boolean => chunk !== undefined && chunk.trim() === "";

/** The part of a word that fits, up to a hyphen if there is one, and the rest. */
function breakWord(word: string, room: number, breakOnHyphens: boolean): [begin: string, rest: string] {
  const points = codePoints(word);
  let end = room;
  if (breakOnHyphens && points.length > room) {
    const hyphen = points.slice(0, room).lastIndexOf("-");
    if (hyphen > 0 && points.slice(0, hyphen).some((character) => character !== "-")) end = hyphen + 1;
  }
  return [points.slice(0, end).join(""), points.slice(end).join("")];
}
