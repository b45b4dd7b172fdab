/**
 * Reads an untrusted regular expression without compiling it: how many instructions it would take at most, and whether Python's
 * `re` and the linear-time engine both know it and agree. Syntax that only one of them knows is refused by name. Matches nothing.
 */

export interface MeasuredExpression {
  /** In the engine's own spelling: Python's `{,3}` and `\Z` are its `{0,3}` and `\z`. */
  readonly source: string;
  /** An upper estimate of the compiled instructions, counted with the repeats unrolled and the classes weighed. */
  readonly size: number;
  /** Expressions that must match, or must not, from where this one begins: look-ahead in front, where matching it stays linear. */
  readonly guards: readonly { readonly source: string; readonly mustMatch: boolean }[];
}

/** Why an expression is not used: a clause such as `look-around is not linear`. */
export class ExpressionFault extends Error {}

const maxRepeat = 1000; // the engine's own bound
const maxDepth = 100;
const maxSize = Number.MAX_SAFE_INTEGER / (maxRepeat + 2);

/** `guarded`: the expression may begin with look-ahead. Throws ExpressionFault. */
export function measureExpression(pattern: string, { guarded = false } = {}): MeasuredExpression {
  const scan = new Scan(pattern);
  const guards = guarded ? scan.guards() : [];
  const size = scan.alternatives(0);
  if (!scan.atEnd) throw new ExpressionFault("unbalanced parenthesis");
  if (guards.length > 0 && scan.hasAlternatives)
    throw new ExpressionFault("look-around in one of several alternatives");
  const total = guards.reduce((sum, guard) => sum + guard.size, size);
  return { source: scan.source, size: total, guards };
}

class Scan {
  readonly #pattern: string;
  #at = 0;
  source = "";
  /** At the outermost level. */
  hasAlternatives = false;

  constructor(pattern: string) {
    this.#pattern = pattern;
    const flags = /^\(\?[ims]+\)/.exec(pattern)?.[0] ?? ""; // for the whole expression, so only in front
    this.#take(flags.length);
  }

  /** Consumes leading look-ahead; each gets the flags of the whole expression. */
  guards(): { source: string; mustMatch: boolean; size: number }[] {
    const flags = this.source;
    const guards: { source: string; mustMatch: boolean; size: number }[] = [];
    let start = flags;
    for (;;) {
      if (this.#next === "^") {
        this.#at += 1;
        start = `${flags}^`;
      }
      const opening = /^\(\?([=!])/.exec(this.#rest);
      if (!opening) break;
      this.#at += opening[0].length;
      this.source = "";
      const size = this.alternatives(1);
      if (this.atEnd) throw new ExpressionFault("unbalanced parenthesis");
      this.#at += 1;
      guards.push({ source: `${flags}(?:${this.source})`, mustMatch: opening[1] === "=", size });
    }
    this.source = start;
    return guards;
  }

  get atEnd(): boolean {
    return this.#at >= this.#pattern.length;
  }

  /** Up to the end or an unmatched `)`. */
  alternatives(depth: number): number {
    if (depth > maxDepth) throw new ExpressionFault(`groups nest deeper than ${maxDepth} levels`);
    let size = 1;
    while (!this.atEnd && this.#next !== ")") {
      if (this.#next === "|") {
        if (depth === 0) this.hasAlternatives = true;
        this.#take(1);
        size += 1;
      } else size += this.#repeated(depth);
      if (size > maxSize) throw new ExpressionFault("it is too large");
    }
    return size;
  }

  get #next(): string {
    return this.#pattern.charAt(this.#at);
  }

  get #rest(): string {
    return this.#pattern.slice(this.#at, this.#at + 80);
  }

  #take(count: number): void {
    this.source += this.#pattern.slice(this.#at, this.#at + count);
    this.#at += count;
  }

  /** An atom with the quantifier after it. */
  #repeated(depth: number): number {
    const isAnchor = /^(?:[$^]|\\[bBAZ])/.test(this.#rest);
    const size = this.#atom(depth);
    const quantifier = this.#quantifier();
    if (quantifier === null) return size;
    if (isAnchor) throw new ExpressionFault("an anchor is repeated");
    if (this.#quantifier() !== null) throw new ExpressionFault("a repeat is repeated");
    return (size + 1) * quantifier;
  }

  /** How many copies it makes at most; null where there is none. */
  #quantifier(): number | null {
    const braces = /^\{(\d*)(,?)(\d*)\}/.exec(this.#rest);
    const [whole = "", least = "", comma = "", most = ""] = braces ?? [];
    let copies: number;
    if (/^[*+?]/.test(this.#rest)) {
      this.#take(1);
      copies = 1;
    } else if (braces && whole !== "{}") {
      const [low, high] = [Number(least), Number(most)];
      if (Math.max(low, high) > maxRepeat) throw new ExpressionFault(`a repeat of more than ${maxRepeat}`);
      if (most !== "" && high < low) throw new ExpressionFault(`the repeat ${whole} counts backwards`);
      this.#at += whole.length;
      this.source += comma === "" ? whole : `{${low},${most}}`;
      copies = Math.max(low + (comma !== "" && most === "" ? 1 : 0), high, 1);
    } else return null;
    if (this.#next === "?")
      this.#take(1); // lazy
    else if (this.#next === "+") throw new ExpressionFault("possessive repeats are not linear");
    return copies;
  }

  #atom(depth: number): number {
    const character = this.#next;
    if (character === "(") return this.#group(depth);
    if (character === "[") return this.#class();
    if (character === "\\") return this.#escape("dDwWsSbBAZ");
    if (/[*+?]/.test(character)) throw new ExpressionFault("there is nothing to repeat");
    this.#take(1);
    return 1;
  }

  #group(depth: number): number {
    const opening = /^\((?:\?(?::|P<[A-Za-z_][A-Za-z0-9_]*>|[ims]+:))?/.exec(this.#rest)?.[0] ?? "(";
    if (opening === "(" && this.#rest.startsWith("(?")) {
      const isLookAround = /^\(\?<?[=!]/.test(this.#rest);
      const what = JSON.stringify(this.#rest.slice(0, 4));
      throw new ExpressionFault(isLookAround ? `look-around, ${what}` : `the group ${what} is not known`);
    }
    this.#take(opening.length);
    const size = this.alternatives(depth + 1);
    if (this.atEnd) throw new ExpressionFault("unbalanced parenthesis");
    this.#take(1);
    return size + 2;
  }

  /** ASCII only: what reaches far beyond is costly to fold, and no module has such a name. */
  #class(): number {
    const start = this.#at;
    this.#take(this.#pattern[start + 1] === "^" ? 2 : 1);
    let items = 0;
    while (this.#next !== "]" || items === 0) {
      if (this.atEnd) throw new ExpressionFault("a class in brackets does not end");
      if (this.#rest.startsWith("[:")) throw new ExpressionFault('"[:" within a class');
      if (this.#next > "\x7f") throw new ExpressionFault("a class in brackets with other characters than ASCII");
      if (this.#next === "\\") this.#escape("dDwWsS");
      else this.#take(1);
      items++;
    }
    this.#take(1);
    return 1 + items;
  }

  /** A backslash with what follows: a known letter, or literal punctuation. */
  #escape(letters: string): number {
    const next = this.#pattern.charAt(this.#at + 1);
    if (next === "Z") {
      this.#at += 2;
      this.source += "\\z";
      return 1;
    }
    if (/^[1-9]$/.test(next)) throw new ExpressionFault(`the back-reference ${JSON.stringify(`\\${next}`)}`);
    const isKnown = letters.includes(next) || "tnrfv".includes(next) || /^[!-/:-@[-`{-~ ]$/.test(next);
    if (next === "" || !isKnown) throw new ExpressionFault(`the escape ${JSON.stringify(`\\${next}`)} is not known`);
    this.#take(2);
    return letters.includes(next) ? 3 : 1;
  }
}
