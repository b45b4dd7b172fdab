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
    while (chunks.length > 0 && lengthOf(chunks.at(-1) ?? "") <= room) {
      const chunk = chunks.pop() ?? "";
      room -= lengthOf(chunk);
      current.push(chunk);
    }
    if (lengthOf(chunks.at(-1) ?? "") > width) {
      if (breakLongWords) current.push(breakWord(chunks, Math.max(room, width < 1 ? 1 : room), breakOnHyphens));
      else if (current.length === 0) current.push(chunks.pop() ?? "");
    }
    if (isBlank(current.at(-1))) current.pop();
    if (current.length > 0) lines.push(current.join(""));
  }
  return lines;
}

const isBlank = (chunk: string | undefined): boolean => chunk !== undefined && chunk.trim() === "";

/** Removes and returns what fits of the last chunk, up to a hyphen if there is one. */
function breakWord(chunks: string[], room: number, breakOnHyphens: boolean): string {
  const points = codePoints(chunks.pop() ?? "");
  let end = room;
  if (breakOnHyphens && points.length > room) {
    const hyphen = points.slice(0, room).lastIndexOf("-");
    if (hyphen > 0 && points.slice(0, hyphen).some((character) => character !== "-")) end = hyphen + 1;
  }
  const rest = points.slice(end).join("");
  chunks.push(rest);
  return points.slice(0, end).join("");
}
