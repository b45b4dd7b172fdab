/**
 * `rank_pattern` and `alpha_pattern`: the first key k, in order, whose expression `^(.*\.)?(k)$` matches the module's path.
 * They come from strangers, so plain names are compared by hand and all else runs on a linear-time engine within a budget.
 */

import { RE2JS } from "re2js";
import { type Faults, quote } from "./faults.js";

export type PatternEntries = readonly (readonly [pattern: string, value: number])[];

const maxPatterns = 4096;
const maxPatternLength = 1024;
/** Length times repeat counts, which bounds what compiling one pattern, and all of them, may take. */
const maxWeight = 100_000;
const maxTotalWeight = 250_000;
/** Instructions times characters: about a second at worst. */
const maxWork = 500_000_000;

interface Pattern {
  readonly value: number;
  /** Instructions that one character may cost. */
  readonly cost: number;
  matches(path: string): boolean;
}

export class PatternTable {
  readonly #key: string;
  readonly #patterns: Pattern[] = [];
  readonly #faults: Faults;
  #weight = 0;
  #work = 0;

  /** `key` is the config's key. A pattern that cannot be used is a fault, named. */
  constructor(key: string, entries: PatternEntries, faults: Faults) {
    this.#key = key;
    this.#faults = faults;
    if (entries.length > maxPatterns) {
      faults.invalid(`${key} has ${entries.length} patterns; at most ${maxPatterns} are allowed`);
      return;
    }
    for (const [pattern, value] of entries) {
      const matcher = parseLiteral(pattern) ?? this.#compile(pattern);
      if (matcher) this.#patterns.push({ value, ...matcher });
      if (this.#weight > maxTotalWeight) {
        faults.invalid(`${key} is too costly to compile: lengths times repeat counts pass ${maxTotalWeight}`);
        return;
      }
    }
  }

  #compile(pattern: string): Omit<Pattern, "value"> | null {
    const weight = weightOf(pattern);
    if (pattern.length > maxPatternLength || weight > maxWeight) {
      const most = `${maxPatternLength} characters and a weight of ${maxWeight} (length times repeat counts)`;
      this.#faults.invalid(`the pattern ${quote(pattern)} of ${this.#key} is too large; at most ${most} are allowed`);
      return null;
    }
    this.#weight += weight;
    if (this.#weight > maxTotalWeight) return null;
    try {
      RE2JS.compile(pattern); // alone first: what is unbalanced must not escape its group
      const compiled = RE2JS.compile(`^(.*\\.)?(${pattern})$`);
      return { cost: compiled.programSize(), matches: (path) => compiled.matcher(path).find() };
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message.slice(0, 200) : "unknown";
      this.#faults.unsupported(
        `the pattern ${quote(pattern)} of ${this.#key} is not a linear-time expression (${reason}); write it without look-around and back-references`,
      );
      return null;
    }
  }

  /** The value of the first pattern that matches, or undefined. Past the budget: one fault, and undefined for the rest. */
  lookup(path: string): number | undefined {
    for (const { value, cost, matches } of this.#patterns) {
      if (this.#work > maxWork) return undefined;
      this.#work += cost * path.length;
      if (this.#work > maxWork) {
        this.#faults.invalid(`${this.#key} is too costly to match: instructions times characters pass ${maxWork}`);
        return undefined;
      }
      if (matches(path)) return value;
    }
    return undefined;
  }
}

/** Length times the product of the repeat counts. */
function weightOf(pattern: string): number {
  let weight = Math.max(1, pattern.length);
  for (const [, least, most] of pattern.matchAll(/\{(\d*)(?:,(\d*))?\}/g)) {
    weight *= Math.max(1, Number(least) || 1, Number(most) || 1);
  }
  return weight;
}

/** Names, dots (which match any character) and escaped dots, maybe anchored: what configs hold nearly always. */
function parseLiteral(pattern: string): Omit<Pattern, "value"> | null {
  const found = /^(\^?)((?:[A-Za-z0-9_-]|\\?\.)+)\$?$/.exec(pattern);
  if (!found || pattern.length > maxPatternLength) return null;
  const [, anchor = "", body = ""] = found;
  const units = body.match(/\\?./g) ?? [];
  return { cost: 1, matches: (path) => matchesLiteral(units, anchor !== "", path) };
}

function matchesLiteral(units: readonly string[], anchored: boolean, path: string): boolean {
  const start = path.length - units.length;
  if (start < 0 || (start > 0 && (anchored || path[start - 1] !== "."))) return false;
  for (let i = 0; i < units.length; i++) {
    const unit = units[i] as string;
    if (unit === "." ? path[start + i] === "\n" : path[start + i] !== unit.at(-1)) return false;
  }
  return true;
}
