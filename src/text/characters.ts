/** Text as clients count it: in characters (code points), not in surrogates. */

import { assert } from "../base/errors.js";

/** The code point at a UTF-16 index, by default the first. Throws past the end of the text. */
export function codePointAt(text: string, index = 0): number {
  const code = text.codePointAt(index);
  assert(code !== undefined, "there is a character at the index");
  return code;
}

/** The number of characters in well-formed text. A surrogate pair counts as one. */
export function characterCount(text: string): number {
  let count = text.length;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit >= 0xd800 && unit <= 0xdbff) count--;
  }
  return count;
}

/** Replaces each lone surrogate with U+FFFD, as encoding in UTF-8 does. */
export function wellFormed(text: string): string {
  return loneSurrogate.test(text) ? text.replace(/\p{Surrogate}/gu, "\uFFFD") : text;
}

const loneSurrogate = /\p{Surrogate}/u;
