/** Finds where a text stops being valid JSON, which JSON.parse does not always say. Reads no values. */

import { last } from "./list.js";

const blank = /[ \t\n\r]*/y;
const scalar = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null/y;
const escaped = /\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/y;

/** What may come next. */
type Expected = "value" | "value or ]" | "key" | "key or }" | "colon" | "comma or end";

/** The place of the first error in words: `line 2, column 5`. */
export function jsonBreak(text: string): string {
  const at = breakOffset(text);
  const lines = text.slice(0, at).split("\n");
  const place = `line ${lines.length}, column ${Array.from(last(lines)).length + 1}`;
  return at >= text.length ? `it ends too early, at ${place}` : place;
}

/** The offset of the first invalid token; the text's length if it ends too early. */
function breakOffset(text: string): number {
  const open: ("[" | "{")[] = [];
  let expected: Expected = "value";
  let at = 0;
  for (;;) {
    at = endOf(blank, text, at);
    const character = text.charAt(at);
    const scope = open.at(-1);
    if (expected === "comma or end" && scope === undefined) return at;
    if ((expected === "value" || expected === "value or ]") && (character === "[" || character === "{")) {
      open.push(character);
      expected = character === "[" ? "value or ]" : "key or }";
      at++;
    } else if (closes(expected, scope, character)) {
      open.pop();
      expected = "comma or end";
      at++;
    } else if (expected === "comma or end" && character === ",") {
      expected = scope === "[" ? "value" : "key";
      at++;
    } else if (expected === "colon" && character === ":") {
      expected = "value";
      at++;
    } else if (expected === "colon" || expected === "comma or end") {
      return at;
    } else {
      const isKey: boolean = expected === "key" || expected === "key or }";
      const isString = character === '"';
      const end = isString ? endOfString(text, at) : isKey ? at : endOf(scalar, text, at);
      if (end === at || (isString && text.charAt(end) !== '"')) return end;
      expected = isKey ? "colon" : "comma or end";
      at = isString ? end + 1 : end;
    }
  }
}

function closes(expected: Expected, scope: "[" | "{" | undefined, character: string): boolean {
  if (character === "]") return scope === "[" && (expected === "value or ]" || expected === "comma or end");
  return character === "}" && scope === "{" && (expected === "key or }" || expected === "comma or end");
}

function endOf(pattern: RegExp, text: string, at: number): number {
  pattern.lastIndex = at;
  return pattern.test(text) ? pattern.lastIndex : at;
}

/** The offset of the string's closing quote or of the first character not allowed in it; the text's length if there is neither. */
function endOfString(text: string, begin: number): number {
  for (let at = begin + 1; at < text.length; ) {
    const character = text.charAt(at);
    if (character === '"' || character < " ") return at;
    const next = character === "\\" ? endOf(escaped, text, at) : at + 1;
    if (next === at) return at;
    at = next;
  }
  return text.length;
}
