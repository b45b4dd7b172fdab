/**
 * ECMAScript's regular expressions, read as with the `u` flag, into expressions. What is not regular (back references, looking
 * ahead or behind, word boundaries) is refused by name.
 */
import { at } from "../base/list.js";
import {
  chars,
  complement,
  type Expression,
  either,
  empty,
  lastCodePoint,
  normalized,
  type Range,
  repeat,
  sequence,
} from "./expression.js";
import { GrammarFault } from "./fault.js";

const digits: readonly Range[] = [[48, 57]];
const words: readonly Range[] = [
  [48, 57],
  [65, 90],
  [95, 95],
  [97, 122],
];
const spaces: readonly Range[] = [
  [9, 13],
  [32, 32],
  [0xa0, 0xa0],
  [0x1680, 0x1680],
  [0x2000, 0x200a],
  [0x2028, 0x2029],
  [0x202f, 0x202f],
  [0x205f, 0x205f],
  [0x3000, 0x3000],
  [0xfeff, 0xfeff],
];
const lineEnds: readonly Range[] = [
  [10, 10],
  [13, 13],
  [0x2028, 0x2029],
];
const controls: Readonly<Record<string, number>> = { t: 9, n: 10, v: 11, f: 12, r: 13 };
const syntaxCharacters = "^$\\.*+?()[]{}|/";
const maxDepth = 64;
const maxRepeats = 65_536;

export const anything = repeat(chars([0, lastCodePoint]));

/** `whole`: the pattern must match the whole text; else a part of it, unless `^` and `$` anchor it. */
export function patternOf(source: string, { whole }: { readonly whole: boolean }): Expression {
  try {
    new RegExp(source, "u");
  } catch {
    throw new GrammarFault("is not a regular expression as ECMAScript reads one with the `u` flag");
  }
  return new Reader(source, whole).read();
}

class Reader {
  readonly #text: readonly string[];
  readonly #whole: boolean;
  #at = 0;

  constructor(source: string, whole: boolean) {
    this.#text = Array.from(source);
    this.#whole = whole;
  }

  read(): Expression {
    const expression = this.#alternatives(0);
    if (this.#at < this.#text.length) throw new GrammarFault("has a parenthesis without its partner");
    return expression;
  }

  #peek(offset = 0): string {
    return this.#text[this.#at + offset] ?? "";
  }

  #take(): string {
    return this.#text[this.#at++] ?? "";
  }

  #eat(text: string): boolean {
    if (this.#text.slice(this.#at, this.#at + text.length).join("") !== text) return false;
    this.#at += text.length;
    return true;
  }

  /** Anchors are allowed at the ends of the outermost alternatives. */
  #alternatives(depth: number): Expression {
    if (depth > maxDepth) throw new GrammarFault(`nests groups more than ${maxDepth} deep`);
    const items = [this.#alternative(depth)];
    while (this.#eat("|")) items.push(this.#alternative(depth));
    return items.length === 1 ? at(items, 0) : either(...items);
  }

  #alternative(depth: number): Expression {
    const items: Expression[] = [];
    const starts = depth === 0 && this.#eat("^");
    let ends = false;
    while (this.#at < this.#text.length && this.#peek() !== "|" && this.#peek() !== ")") {
      if (this.#peek() === "$" && depth === 0 && (this.#peek(1) === "|" || this.#peek(1) === "")) {
        this.#at++;
        ends = true;
        break;
      }
      items.push(this.#quantified(this.#atom(depth)));
    }
    if (depth > 0 || this.#whole) return sequence(...items);
    return sequence(starts ? empty : anything, ...items, ends ? empty : anything);
  }

  #quantified(item: Expression): Expression {
    const bounds = this.#bounds();
    if (!bounds) return item;
    this.#eat("?"); // lazy: the same texts
    const [min, max] = bounds;
    if (min > maxRepeats || (max ?? 0) > maxRepeats) {
      throw new GrammarFault(`repeats something more than ${maxRepeats} times`);
    }
    return repeat(item, min, max);
  }

  #bounds(): readonly [number, number | null] | null {
    if (this.#eat("*")) return [0, null];
    if (this.#eat("+")) return [1, null];
    if (this.#eat("?")) return [0, 1];
    if (this.#peek() !== "{") return null;
    const close = this.#text.indexOf("}", this.#at);
    const inner = this.#text.slice(this.#at + 1, close).join("");
    this.#at = close + 1;
    const [min = "", max] = inner.split(",");
    if (max === undefined) return [Number(min), Number(min)];
    return [Number(min), max === "" ? null : Number(max)];
  }

  #atom(depth: number): Expression {
    const character = this.#take();
    switch (character) {
      case ".":
        return chars(...complement(lineEnds));
      case "[":
        return chars(...this.#set());
      case "(":
        return this.#group(depth);
      case "\\":
        return chars(...this.#escape(false));
      case "^":
      case "$":
        throw new GrammarFault(`has \`${character}\` inside; it is allowed only at the ends of the pattern`);
    }
    const code = character.codePointAt(0) ?? 0;
    return chars([code, code]);
  }

  #group(depth: number): Expression {
    if (this.#eat("?")) {
      if (this.#peek() === "=" || this.#peek() === "!")
        throw new GrammarFault("looks ahead (`(?=`, `(?!`), which is not supported");
      if (this.#eat("<")) {
        if (this.#peek() === "=" || this.#peek() === "!")
          throw new GrammarFault("looks behind (`(?<=`, `(?<!`), which is not supported");
        while (this.#take() !== ">");
      } else if (!this.#eat(":")) throw new GrammarFault("changes flags inside, which is not supported");
    }
    const inner = this.#alternatives(depth + 1);
    this.#at++; // the closing parenthesis: the pattern was checked
    return inner;
  }

  #set(): Range[] {
    const negated = this.#eat("^");
    const ranges: Range[] = [];
    while (this.#peek() !== "]") {
      const from = this.#member();
      const [first] = from;
      if (this.#peek() !== "-" || this.#peek(1) === "]" || from.length !== 1 || !first) {
        ranges.push(...from);
        continue;
      }
      this.#at++;
      const to = this.#member();
      ranges.push([first[0], at(to, 0)[1]]);
    }
    this.#at++;
    return negated ? complement(ranges) : normalized(ranges);
  }

  #member(): readonly Range[] {
    const character = this.#take();
    if (character === "\\") return this.#escape(true);
    const code = character.codePointAt(0) ?? 0;
    return [[code, code]];
  }

  #escape(inSet: boolean): readonly Range[] {
    const character = this.#take();
    switch (character) {
      case "d":
        return digits;
      case "D":
        return complement(digits);
      case "w":
        return words;
      case "W":
        return complement(words);
      case "s":
        return spaces;
      case "S":
        return complement(spaces);
      case "p":
      case "P":
        return this.#property(character);
      case "u":
        return single(this.#unicode());
      case "x":
        return single(Number.parseInt(this.#take() + this.#take(), 16));
      case "c":
        return single((this.#take().codePointAt(0) ?? 0) & 31);
      case "0":
        return single(0);
      case "b":
        if (inSet) return single(8);
        throw new GrammarFault("has a word boundary (`\\b`), which is not supported");
      case "B":
        throw new GrammarFault("has a word boundary (`\\B`), which is not supported");
    }
    if (character === "k" || /[1-9]/.test(character)) {
      throw new GrammarFault("refers back to a group, which is not supported");
    }
    const control = controls[character];
    if (control !== undefined) return single(control);
    if (!syntaxCharacters.includes(character) && character !== "-") {
      throw new GrammarFault(`has the escape \`\\${character}\`, which is not supported`);
    }
    return single(character.codePointAt(0) ?? 0);
  }

  #unicode(): number {
    if (this.#eat("{")) {
      let hex = "";
      while (this.#peek() !== "}") hex += this.#take();
      this.#at++;
      return Number.parseInt(hex, 16);
    }
    const unit = Number.parseInt(this.#hex(), 16);
    if (unit < 0xd800 || unit > 0xdbff || this.#peek() !== "\\" || this.#peek(1) !== "u") return unit;
    const start = this.#at;
    this.#at += 2;
    const low = Number.parseInt(this.#hex(), 16);
    if (low >= 0xdc00 && low <= 0xdfff) return 0x10000 + (unit - 0xd800) * 0x400 + (low - 0xdc00);
    this.#at = start;
    return unit;
  }

  #hex(): string {
    return this.#take() + this.#take() + this.#take() + this.#take();
  }

  /** A property's characters, as this Node.js knows them. */
  #property(kind: string): readonly Range[] {
    let name = "";
    while (this.#peek() !== "}") name += this.#take();
    this.#at++;
    everyCharacter ??= allCharacters();
    const runs = everyCharacter.matchAll(new RegExp(`\\${kind}${name}}+`, "gu"));
    return Array.from(runs, ({ 0: run, index }) => [codePointAt(index), codePointAt(index + run.length) - 1]);
  }
}

/** All code points but the surrogates, in order; built when a pattern first needs it. */
let everyCharacter: string | null = null;

function allCharacters(): string {
  let text = "";
  for (let code = 0; code <= lastCodePoint; code++) {
    if (code < 0xd800 || code > 0xdfff) text += String.fromCodePoint(code);
  }
  return text;
}

/** The code point at an index of that text, also where the index is behind a surrogate. */
function codePointAt(index: number): number {
  if (index < 0xd800) return index;
  return index < 0xf800 ? index + 0x800 : 0x10000 + (index - 0xf800) / 2;
}

const single = (code: number): readonly Range[] => [[code, code]];
