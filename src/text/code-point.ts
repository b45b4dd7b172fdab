/** Code points of texts. */

import { assert } from "../base/errors.js";

/** The code point at a UTF-16 index, by default the first. Throws past the end of the text. */
export function codePointAt(text: string, index = 0): number {
  const code = text.codePointAt(index);
  assert(code !== undefined, "there is a character at the index");
  return code;
}
