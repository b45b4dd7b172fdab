/** Leaves the white space at the ends of a token out of its place, as the post-processors of byte-level tokenizers do. */

import { byteLevelText } from "./bytes.js";

const space = byteLevelText(" ");
const isSpace = (character: string): boolean => character === space || /^\p{White_Space}$/u.test(character);

/** `keepsSpace`: a single space in front was put there by encoding, so the place has no room for it. */
export function trimSpan(
  [begin, end]: readonly [begin: number, end: number],
  spelling: string,
  keepsSpace: boolean,
): readonly [begin: number, end: number] {
  const characters = Array.from(spelling);
  const firstOther = characters.findIndex((character) => !isSpace(character));
  const leading = firstOther < 0 ? characters.length : firstOther;
  const trailing = characters.length - 1 - characters.findLastIndex((character) => !isSpace(character));
  const trimmed = Math.min(begin + (keepsSpace && leading === 1 ? 0 : leading), end);
  return [trimmed, end >= trailing ? Math.max(end - trailing, trimmed) : end];
}
