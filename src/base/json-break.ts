/** Where a text stops being JSON, which the language's own parser does not always say. Reads no value. */

const blank = /[ \t\n\r]*/y;
const scalar = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null/y;
const escaped = /\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/y;

/** What may come next. */
type Expected = "value" | "value or ]" | "key" | "key or }" | "colon" | "comma or end";

/** Says in words where the text breaks: `line 2, column 5`. */
export function jsonBreak(text: string): string {
  const at = breakOffset(text);
  const lines = text.slice(0, at).split("\n");
  const place = `line ${lines.length}, column ${Array.from(lines.at(-1) ?? "").length + 1}`;
  return at >= text.length ? `it ends too early, at ${place}` : place;
}

/** The offset of the first token that cannot be; the text's length where it ends too early. */
function breakOffset(text: string): number {
  const open: ("[" | "{")[] = [];
  let expected: Expected = "value";
  let at = 0;
  for (;;) {
    at = behind(blank, text, at);
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
      const end = isString ? behindString(text, at) : isKey ? at : behind(scalar, text, at);
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

function behind(pattern: RegExp, text: string, at: number): number {
  pattern.lastIndex = at;
  return pattern.test(text) ? pattern.lastIndex : at;
}

/** The offset of the string's closing quote, or of the first character that it must not hold; the text's length without either. */
function behindString(text: string, begin: number): number {
  for (let at = begin + 1; at < text.length; ) {
    const character = text.charAt(at);
    if (character === '"' || character < " ") return at;
    const next = character === "\\" ? behind(escaped, text, at) : at + 1;
    if (next === at) return at;
    at = next;
  }
  return text.length;
}
