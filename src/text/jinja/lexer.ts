/**
 * Splits a template into tokens, as Jinja2's lexer with `trim_blocks` and `lstrip_blocks`.
 */

import { assert } from "../../base/errors.js";
import { at } from "../../base/list.js";
import { codePointAt } from "../characters.js";
import { TemplateSyntaxFault } from "./faults.js";
import { escapeCode } from "./print.js";
import { spaceClass, strip } from "./unicode.js";

export type TokenKind =
  | "data"
  | "variable_begin"
  | "variable_end"
  | "block_begin"
  | "block_end"
  | "name"
  | "string"
  | "integer"
  | "float"
  | "operator"
  | "eof";

export interface Token {
  readonly kind: TokenKind;
  readonly text: string;
  readonly line: number;
}

const sticky = (source: string): RegExp => new RegExp(source, "uy");

const patterns = {
  space: sticky(`[${spaceClass}]+`),
  float: sticky(
    "(?<!\\.)(?:\\p{Nd}+_)*\\p{Nd}+(?:(?:\\.(?:\\p{Nd}+_)*\\p{Nd}+)?[eE][+\\-]?(?:\\p{Nd}+_)*\\p{Nd}+|\\.(?:\\p{Nd}+_)*\\p{Nd}+)",
  ),
  integer: sticky("0[bB](?:_?[01])+|0[oO](?:_?[0-7])+|0[xX](?:_?[\\p{Nd}a-fA-F])+|[1-9](?:_?\\p{Nd})*|0(?:_?0)*"),
  name: sticky("[\\p{L}\\p{N}\\p{M}_\\p{Pc}\\u00b7\\u0387\\u1369-\\u1371\\u19da\\u2118\\u212e\\u309b\\u309c]+"),
  string: sticky("'[^'\\\\]*(?:\\\\[^][^'\\\\]*)*'|\"[^\"\\\\]*(?:\\\\[^][^\"\\\\]*)*\""),
  operator: sticky("//|\\*\\*|==|!=|>=|<=|[-+/*%~\\[\\](){}<>=.:|,;]"),
  identifier: /^[\p{XIDS}_]\p{XIDC}*$/u,
  open: /\{\{|\{%|\{#/g,
  raw: sticky(`\\{%[-+]?[${spaceClass}]*raw[${spaceClass}]*(?:-%\\}[${spaceClass}]*|%\\})`),
  endRaw: new RegExp(
    `\\{%([-+]?)[${spaceClass}]*endraw[${spaceClass}]*(?:\\+%\\}|-%\\}[${spaceClass}]*|%\\}\\n?)`,
    "gu",
  ),
  endComment: new RegExp(`\\+#\\}|-#\\}[${spaceClass}]*|#\\}\\n?`, "gu"),
  endBlock: sticky(`\\+%\\}|-%\\}[${spaceClass}]*|%\\}\\n?`),
  endVariable: sticky(`-\\}\\}[${spaceClass}]*|\\}\\}`),
} as const;

const closing: Readonly<Record<string, string>> = { "(": ")", "[": "]", "{": "}" };

/** @throws TemplateSyntaxFault */
export function tokenize(source: string): Token[] {
  const lexer = new Lexer(source.replace(/\r\n?/g, "\n").replace(/\n$/, ""));
  return lexer.run();
}

class Lexer {
  readonly #text: string;
  readonly #tokens: Token[] = [];
  #at = 0;
  #line = 1;
  /** Whether the last text or tag ended a line. */
  #atLineStart = true;

  constructor(text: string) {
    this.#text = text;
  }

  run(): Token[] {
    while (this.#at < this.#text.length) this.#root();
    this.#push("eof", "");
    return this.#tokens;
  }

  #push(kind: TokenKind, text: string): void {
    this.#tokens.push({ kind, text, line: this.#line });
  }

  #fail(message: string): never {
    throw new TemplateSyntaxFault(message, this.#line);
  }

  /** Advances, counting lines. */
  #advance(to: number): void {
    for (let at = this.#text.indexOf("\n", this.#at); at >= 0 && at < to; at = this.#text.indexOf("\n", at + 1))
      this.#line++;
    this.#atLineStart = to > this.#at && this.#text[to - 1] === "\n";
    this.#at = to;
  }

  /** Text up to the next tag, and the tag. */
  #root(): void {
    patterns.open.lastIndex = this.#at;
    const open = patterns.open.exec(this.#text);
    if (!open) {
      this.#push("data", this.#text.slice(this.#at));
      this.#advance(this.#text.length);
      return;
    }
    const raw = open[0] === "{%" ? this.#match(patterns.raw, open.index) : null;
    const sign = /[-+]/.exec(this.#text.charAt(open.index + 2))?.[0] ?? "";
    this.#data(open.index, sign, open[0] !== "{{");
    this.#advance(open.index + (raw?.length ?? 2 + sign.length));
    if (raw !== null) {
      this.#rawBlock();
      return;
    }
    if (open[0] === "{#") {
      this.#comment();
      return;
    }
    open[0] === "{{" ? this.#tag("variable") : this.#tag("block");
    return;
  }

  /** Text before a tag: `-` strips it, and a block tag at the start of a line loses its indentation. */
  #data(end: number, sign: string, isBlock: boolean): void {
    let text = this.#text.slice(this.#at, end);
    if (sign === "-") text = strip(text, null, "right");
    else if (sign !== "+" && isBlock) {
      const lineStart = text.lastIndexOf("\n") + 1;
      if ((lineStart > 0 || this.#atLineStart) && strip(text.slice(lineStart)) === "") text = text.slice(0, lineStart);
    }
    if (text !== "") this.#push("data", text);
  }

  #match(pattern: RegExp, at: number): string | null {
    pattern.lastIndex = at;
    return pattern.exec(this.#text)?.[0] ?? null;
  }

  #rawBlock(): void {
    patterns.endRaw.lastIndex = this.#at;
    const end = patterns.endRaw.exec(this.#text);
    if (!end && this.#at === this.#text.length) return;
    if (!end) this.#fail("Missing end of raw directive");
    this.#data(end.index, at(end, 1), true);
    this.#advance(end.index + end[0].length);
  }

  #comment(): void {
    patterns.endComment.lastIndex = this.#at;
    const end = patterns.endComment.exec(this.#text);
    if (!end && this.#at === this.#text.length) return;
    if (!end) this.#fail("Missing end of comment tag");
    this.#advance(end.index + end[0].length);
  }

  /** The tokens of `{{ }}` or `{% %}`; its end counts only outside brackets. */
  #tag(kind: "variable" | "block"): void {
    this.#push(`${kind}_begin`, "");
    const end = kind === "variable" ? patterns.endVariable : patterns.endBlock;
    const brackets: string[] = [];
    while (this.#at < this.#text.length) {
      const closed = brackets.length === 0 ? this.#match(end, this.#at) : null;
      if (closed !== null) {
        this.#push(`${kind}_end`, "");
        this.#advance(this.#at + closed.length);
        return;
      }
      this.#inTag(brackets);
    }
  }

  #inTag(brackets: string[]): void {
    const at = this.#at;
    const space = this.#match(patterns.space, at);
    if (space !== null) {
      this.#advance(at + space.length);
      return;
    }
    for (const kind of ["float", "integer", "name", "string", "operator"] as const) {
      const found = this.#match(patterns[kind], at);
      if (found === null) continue;
      if (kind === "name" && !patterns.identifier.test(found)) this.#fail(`"${found}" is not a name`);
      if (kind === "operator") this.#balance(found, brackets);
      this.#push(kind, kind === "string" ? this.#unescape(found.slice(1, -1)) : found);
      this.#advance(at + found.length);
      return;
    }
    this.#fail(`unexpected character ${JSON.stringify(String.fromCodePoint(codePointAt(this.#text, this.#at)))}`);
  }

  #balance(operator: string, brackets: string[]): void {
    const expected = closing[operator];
    if (expected !== undefined) brackets.push(expected);
    if (operator !== ")" && operator !== "]" && operator !== "}") return;
    const open = brackets.pop();
    if (open === undefined) this.#fail(`unexpected "${operator}"`);
    if (open !== operator) this.#fail(`unexpected "${operator}", expected "${open}"`);
  }

  /** Python's escapes. A backslash before a non-ASCII character turns that character into its escape. */
  #unescape(text: string): string {
    return text.replace(
      /\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{1,3})|(.))/gsu,
      (whole, byte?: string, short?: string, long?: string, octal?: string, one?: string) => {
        const hex = byte ?? short ?? long;
        if (hex !== undefined) return this.#character(Number.parseInt(hex, 16));
        if (octal !== undefined) return String.fromCharCode(Number.parseInt(octal, 8));
        assert(one !== undefined, "a backslash that begins no number escapes one character");
        return this.#escaped(one, whole);
      },
    );
  }

  #character(code: number): string {
    return code > 0x10ffff ? this.#fail("illegal Unicode character in a string") : String.fromCodePoint(code);
  }

  #escaped(character: string, whole: string): string {
    const simple = escapes[character];
    if (simple !== undefined) return simple;
    if (character === "N") this.#fail("\\N{...} is not supported in a string");
    if ("xuU".includes(character)) this.#fail(`truncated \\${character} escape in a string`);
    return character > "\x7f" ? escapeCode(character) : whole;
  }
}

const escapes: Readonly<Record<string, string>> = {
  "\n": "",
  "\\": "\\",
  "'": "'",
  '"': '"',
  a: "\x07",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
  v: "\v",
};
