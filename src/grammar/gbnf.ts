/**
 * Grammars in the notation of llama.cpp (GBNF), which vLLM's EBNF shares: rules `name ::= ...` of literals, character classes,
 * groups, alternatives and repetitions; the text is of the rule `root`. Line ends separate no rules: the next `name ::=` does.
 */
import { at } from "../base/list.js";
import {
  call,
  chars,
  complement,
  type Expression,
  either,
  lastCodePoint,
  normalized,
  type Range,
  repeat,
  sequence,
  text,
} from "./expression.js";
import { GrammarFault, shown } from "./fault.js";
import { inlined } from "./inline.js";
import { leftRecursive } from "./left-recursion.js";

const maxRules = 1000;
const maxDepth = 64;
const maxRepeats = 65_536;
const namePattern = /[A-Za-z0-9_-]+/y;
const escapes: Readonly<Record<string, string>> = { n: "\n", r: "\r", t: "\t", "\\": "\\", '"': '"', "'": "'" };
const classEscapes: Readonly<Record<string, string>> = { ...escapes, "[": "[", "]": "]", "^": "^", "-": "-" };
const hexLengths: Readonly<Record<string, number>> = { x: 2, u: 4, U: 8 };

/** The rules of a grammar, `root` first. Throws GrammarFault with the line and column of what is wrong. */
export function rulesOfGbnf(source: string): readonly Expression[] {
  return inlined(new GbnfReader(source).read());
}

interface Rule {
  readonly index: number;
  readonly expression: Expression | null;
  /** Where it was first named. */
  readonly offset: number;
}

class GbnfReader {
  readonly #text: string;
  readonly #rules = new Map<string, Rule>();
  #at = 0;

  constructor(source: string) {
    this.#text = source;
    this.#rules.set("root", { index: 0, expression: null, offset: source.length });
  }

  read(): readonly Expression[] {
    this.#skipSpace();
    while (this.#at < this.#text.length) this.#rule();
    const rules = Array.from(this.#rules, ([name, { expression, offset }]) => {
      if (expression) return expression;
      throw name === "root"
        ? new GrammarFault("has no rule `root`")
        : this.#fault(`the rule \`${shown(name)}\` is not defined`, offset);
    });
    const recursive = leftRecursive(rules);
    if (recursive === null) return rules;
    const [name, { offset }] = at([...this.#rules], recursive);
    throw this.#fault(`the rule \`${shown(name)}\` begins with itself; let it end with itself instead`, offset);
  }

  #rule(): void {
    const offset = this.#at;
    const name = this.#name();
    if (name === null || !this.#eat("::=")) throw this.#fault("a rule `name ::= ...` was expected", offset);
    const { index, expression } = this.#named(name, offset);
    if (expression) throw this.#fault(`the rule \`${shown(name)}\` is defined twice`, offset);
    this.#rules.set(name, { index, expression: this.#alternatives(0), offset });
  }

  /** A name gets its number at its first use. */
  #named(name: string, offset: number): Rule {
    const known = this.#rules.get(name);
    if (known) return known;
    if (this.#rules.size >= maxRules) throw this.#fault(`there are more than ${maxRules} rules`, offset);
    const rule = { index: this.#rules.size, expression: null, offset };
    this.#rules.set(name, rule);
    return rule;
  }

  #alternatives(depth: number): Expression {
    if (depth > maxDepth) throw this.#fault(`groups nest more than ${maxDepth} deep`);
    const items = [this.#sequence(depth)];
    while (this.#eat("|")) items.push(this.#sequence(depth));
    return items.length === 1 ? at(items, 0) : either(...items);
  }

  #sequence(depth: number): Expression {
    const items: Expression[] = [];
    for (let item = this.#item(depth); item; item = this.#item(depth)) items.push(this.#repeated(item));
    return sequence(...items);
  }

  /** null where the sequence ends. */
  #item(depth: number): Expression | null {
    const offset = this.#at;
    switch (this.#text[offset]) {
      case '"':
        this.#at++;
        return this.#literal(offset);
      case "[":
        this.#at++;
        return this.#class(offset);
      case ".":
        this.#eat(".");
        return chars([0, lastCodePoint]);
      case "(": {
        this.#eat("(");
        const group = this.#alternatives(depth + 1);
        if (!this.#eat(")")) throw this.#fault("`)` was expected");
        return group;
      }
      case "|":
      case ")":
      case undefined:
        return null;
    }
    const name = this.#name();
    if (name === null) throw this.#fault(`\`${this.#text.slice(offset, offset + 1)}\` is not supported here`);
    if (!this.#text.startsWith("::=", this.#at)) return call(this.#named(name, offset).index);
    this.#at = offset; // the next rule
    return null;
  }

  #repeated(item: Expression): Expression {
    const offset = this.#at;
    if (this.#eat("*")) return this.#repeated(repeat(item));
    if (this.#eat("+")) return this.#repeated(repeat(item, 1));
    if (this.#eat("?")) return this.#repeated(repeat(item, 0, 1));
    const counts = /\{\s*(\d+)\s*(,\s*(\d*)\s*)?\}/y;
    counts.lastIndex = offset;
    const found = counts.exec(this.#text);
    if (!found) return item;
    this.#at = counts.lastIndex;
    this.#skipSpace();
    const min = Number(found[1]);
    const most = found[2] === undefined ? min : found[3] === "" ? null : Number(found[3]);
    if (min > maxRepeats || (most ?? 0) > maxRepeats) {
      throw this.#fault(`something is repeated more than ${maxRepeats} times`, offset);
    }
    if (most !== null && min > most) throw this.#fault(`\`${found[0]}\` counts down`, offset);
    return this.#repeated(repeat(item, min, most));
  }

  #literal(offset: number): Expression {
    let value = "";
    while (this.#text[this.#at] !== '"') {
      if (this.#at >= this.#text.length) throw this.#fault("the literal has no end", offset);
      value += this.#character(escapes);
    }
    this.#eat('"');
    return text(value);
  }

  #class(offset: number): Expression {
    const isNegated = this.#text[this.#at] === "^";
    if (isNegated) this.#at++;
    const ranges: Range[] = [];
    while (this.#text[this.#at] !== "]") {
      if (this.#at >= this.#text.length) throw this.#fault("the character class has no end", offset);
      const start = this.#at;
      const from = codePoint(this.#character(classEscapes));
      const isRange = this.#text[this.#at] === "-" && this.#text[this.#at + 1] !== "]";
      if (isRange) this.#at++;
      const to = isRange ? codePoint(this.#character(classEscapes)) : from;
      if (to < from) throw this.#fault("the range of characters counts down", start);
      ranges.push([from, to]);
    }
    this.#eat("]");
    return isNegated ? chars(...complement(ranges)) : chars(...normalized(ranges));
  }

  /** One character, which may be escaped. */
  #character(known: Readonly<Record<string, string>>): string {
    const offset = this.#at;
    const character = String.fromCodePoint(this.#text.codePointAt(offset) ?? 0);
    this.#at += character.length;
    if (character !== "\\") return character;
    const letter = this.#text[this.#at++] ?? "";
    const plain = Object.hasOwn(known, letter) ? known[letter] : undefined;
    if (plain !== undefined) return plain;
    const length = Object.hasOwn(hexLengths, letter) ? (hexLengths[letter] ?? 0) : 0;
    const digits = this.#text.slice(this.#at, this.#at + length);
    const code = Number.parseInt(digits, 16);
    if (length === 0 || !/^[0-9a-fA-F]+$/.test(digits) || digits.length < length || code > lastCodePoint) {
      throw this.#fault(`the escape \`\\${letter}${digits}\` is not supported`, offset);
    }
    this.#at += length;
    return String.fromCodePoint(code);
  }

  #name(): string | null {
    namePattern.lastIndex = this.#at;
    const name = namePattern.exec(this.#text)?.[0] ?? null;
    this.#at += name?.length ?? 0;
    if (name !== null) this.#skipSpace();
    return name;
  }

  #eat(token: string): boolean {
    if (!this.#text.startsWith(token, this.#at)) return false;
    this.#at += token.length;
    this.#skipSpace();
    return true;
  }

  /** Skips white space and comments. */
  #skipSpace(): void {
    const space = /(?:\s|#[^\n]*)*/y;
    space.lastIndex = this.#at;
    space.exec(this.#text);
    this.#at = space.lastIndex;
  }

  #fault(message: string, offset = this.#at): GrammarFault {
    const lines = this.#text.slice(0, offset).split("\n");
    return new GrammarFault(`at line ${lines.length}, column ${(lines.at(-1) ?? "").length + 1}: ${message}`);
  }
}

const codePoint = (character: string): number => character.codePointAt(0) ?? 0;
