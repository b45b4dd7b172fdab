/**
 * Untrusted expressions of a config: plain names are compared by hand, all else runs on a linear-time engine.
 * One budget for all expressions of a config bounds compiling, by the size of the compiled form, and matching.
 */

import { RE2JS } from "re2js";
import { at } from "../../base/list.js";
import { ExpressionFault, measureExpression } from "./expressions.js";
import { type Faults, quote } from "./faults.js";

export type PatternEntries = readonly (readonly [pattern: string, value: number])[];

const maxPatterns = 4096;
const maxPatternLength = 1024;
/** Instructions of all expressions: compiling one takes about 30 µs. */
export const maxPatternSize = 32_768;
/** Instructions times characters: 20 ns each at worst, where the engine has to follow every alternative at once. */
const maxWork = 150_000_000;
/** The cost of a plain name, which needs no engine, in instructions. */
const literalCost = 1 / 16;

export interface CompiledExpression {
  /** Maximum size of the compiled form. */
  readonly size: number;
  /** The groups of the match that a depth-first matcher would find first, by name; null where there is none. */
  find(path: string): Readonly<Record<string, string | undefined>> | null;
}

/** The purpose of an expression, for messages, and what wraps it. */
export interface ExpressionUse {
  readonly key: string;
  readonly wrap: (source: string) => string;
  /** Groups of the wrapping to be read. */
  readonly groups?: readonly string[];
  /** The expression begins where the path does, so look-ahead may precede it. */
  readonly guarded?: boolean;
}

export class PatternBudget {
  readonly #faults: Faults;
  readonly #maxSize: number;
  #size = 0;
  #work = 0;
  #isSpent = false;

  constructor(faults: Faults, maxSize = maxPatternSize) {
    this.#faults = faults;
    this.#maxSize = maxSize;
  }

  /** null for what is too large, which is a fault. Throws ExpressionFault for what the linear-time engine lacks. */
  compile(pattern: string, { key, wrap, groups = [], guarded = false }: ExpressionUse): CompiledExpression | null {
    if (pattern.length > maxPatternLength) {
      this.#faults.invalid(
        `the pattern ${quote(pattern)} of ${key} has ${pattern.length} characters; at most ${maxPatternLength} are allowed`,
      );
      return null;
    }
    const { source, size, guards } = measureExpression(pattern, { guarded });
    this.#size += size;
    if (this.#size > this.#maxSize) {
      this.#refuse(
        `${key} is too costly to compile: all expressions together take more than ${this.#maxSize} instructions`,
      );
      return null;
    }
    const compiled = compileRe2(wrap(source));
    const conditions = guards.map((guard) => ({ ...guard, expression: compileRe2(`^(?:${guard.source})`) }));
    return {
      size,
      find: (path) => {
        if (conditions.some(({ expression, mustMatch }) => expression.matcher(path).find() !== mustMatch)) return null;
        const matcher = compiled.matcher(path);
        return matcher.find()
          ? Object.fromEntries(groups.map((name) => [name, matcher.group(name) ?? undefined]))
          : null;
      },
    };
  }

  /** Accounts for matching so many instructions; false once the budget is spent, which is a fault. */
  spend(key: string, size: number, path: string): boolean {
    if (this.#work > maxWork) return false;
    this.#work += size * path.length;
    if (this.#work <= maxWork) return true;
    this.#refuse(`${key} is too costly to match: instructions times characters pass ${maxWork}`);
    return false;
  }

  /** Reports it once, however many expressions are left. */
  #refuse(fault: string): void {
    if (!this.#isSpent) this.#faults.invalid(fault);
    this.#isSpent = true;
  }
}

function compileRe2(source: string): RE2JS {
  try {
    return RE2JS.compile(source);
  } catch (cause) {
    throw new ExpressionFault(cause instanceof Error ? cause.message.slice(0, 200) : "unknown");
  }
}

interface Pattern {
  readonly value: number;
  /** Instructions that one character may cost. */
  readonly cost: number;
  matches(path: string): boolean;
}

/** `rank_pattern` or `alpha_pattern`: the first key k, in order, whose expression `^(.*\.)?(k)$` matches the module's path. */
export class PatternTable {
  readonly #key: string;
  readonly #patterns: Pattern[] = [];
  readonly #faults: Faults;
  readonly #budget: PatternBudget;

  /** `key` is the config's key. A pattern that cannot be used is a fault, named. */
  constructor(key: string, entries: PatternEntries, faults: Faults, budget = new PatternBudget(faults)) {
    this.#key = key;
    this.#faults = faults;
    this.#budget = budget;
    if (entries.length > maxPatterns) {
      faults.invalid(`${key} has ${entries.length} patterns; at most ${maxPatterns} are allowed`);
      return;
    }
    for (const [pattern, value] of entries) {
      const matcher = parseLiteral(pattern) ?? this.#compile(pattern);
      if (matcher) this.#patterns.push({ value, ...matcher });
    }
  }

  #compile(pattern: string): Omit<Pattern, "value"> | null {
    try {
      const wrap = (source: string): string => `^(.*\\.)?(${source})$`;
      const compiled = this.#budget.compile(pattern, { key: this.#key, wrap });
      return compiled && { cost: compiled.size, matches: (path) => compiled.find(path) !== null };
    } catch (cause) {
      if (!(cause instanceof ExpressionFault)) throw cause;
      this.#faults.unsupported(
        `the pattern ${quote(pattern)} of ${this.#key} is not a linear-time expression (${cause.message}); write it without look-around and back-references`,
      );
      return null;
    }
  }

  /** The value of the first pattern that matches, or undefined. Past the budget: undefined for the rest. */
  lookup(path: string): number | undefined {
    for (const { value, cost, matches } of this.#patterns) {
      if (!this.#budget.spend(this.#key, cost, path)) return undefined;
      if (matches(path)) return value;
    }
    return undefined;
  }
}

/** Names, dots (which match any character) and escaped dots, maybe anchored: what configs hold nearly always. */
function parseLiteral(pattern: string): Omit<Pattern, "value"> | null {
  const found = /^(\^?)((?:[A-Za-z0-9_-]|\\?\.)+)\$?$/.exec(pattern);
  if (!found || pattern.length > maxPatternLength) return null;
  const [, anchor = "", body = ""] = found;
  const units = body.match(/\\?./g) ?? [];
  return { cost: literalCost, matches: (path) => matchesLiteral(units, anchor !== "", path) };
}

function matchesLiteral(units: readonly string[], anchored: boolean, path: string): boolean {
  const start = path.length - units.length;
  if (start < 0 || (start > 0 && (anchored || path[start - 1] !== "."))) return false;
  for (let i = 0; i < units.length; i++) {
    const unit = at(units, i);
    if (unit === "." ? path[start + i] === "\n" : path[start + i] !== unit.at(-1)) return false;
  }
  return true;
}
