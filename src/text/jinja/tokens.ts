/** A parser's position in the tokens of a template. */

import { at } from "../../base/list.js";
import { TemplateSyntaxFault } from "./faults.js";
import type { Token, TokenKind } from "./lexer.js";

/** The deepest nesting of parentheses, tags and operators. */
const maxNesting = 200;

const words: Readonly<Partial<Record<TokenKind, string>>> = {
  variable_end: 'the end of "{{"',
  block_end: 'the end of "{%"',
  block_begin: "the start of a tag",
  eof: "the end of the template",
  name: "a name",
};

export class Tokens {
  readonly #tokens: readonly Token[];
  #at = 0;
  #depth = 0;

  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens;
  }

  get current(): Token {
    return at(this.#tokens, Math.min(this.#at, this.#tokens.length - 1));
  }

  get following(): Token {
    return at(this.#tokens, Math.min(this.#at + 1, this.#tokens.length - 1));
  }

  next(): Token {
    const token = this.current;
    this.#at++;
    return token;
  }

  is(kind: TokenKind, text?: string): boolean {
    return this.current.kind === kind && (text === undefined || this.current.text === text);
  }

  isOperator(...texts: readonly string[]): boolean {
    return this.current.kind === "operator" && texts.includes(this.current.text);
  }

  isName(...texts: readonly string[]): boolean {
    return this.current.kind === "name" && texts.includes(this.current.text);
  }

  skip(kind: TokenKind, text?: string): boolean {
    if (!this.is(kind, text)) return false;
    this.#at++;
    return true;
  }

  expect(kind: TokenKind, text?: string): Token {
    if (this.is(kind, text)) return this.next();
    return this.fail(`expected ${text === undefined ? (words[kind] ?? kind) : `"${text}"`}, found ${this.found}`);
  }

  get found(): string {
    const { kind, text } = this.current;
    return words[kind] !== undefined && kind !== "name" ? words[kind] : JSON.stringify(text.slice(0, 40));
  }

  fail(message: string, line = this.current.line): never {
    throw new TemplateSyntaxFault(message, line);
  }

  /** Parses one level deeper. */
  nested<T>(parse: () => T): T {
    this.checkDepth(this.#depth + 1);
    this.#depth++;
    try {
      return parse();
    } finally {
      this.#depth--;
    }
  }

  checkDepth(depth: number): void {
    if (depth > maxNesting) this.fail(`it nests more than ${maxNesting} levels deep`);
  }
}
