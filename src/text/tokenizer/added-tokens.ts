/**
 * Finds added tokens in a text, as the Rust library does: leftmost and longest first, only as whole words for tokens with
 * `single_word`, and with the surrounding white space for tokens with `lstrip` or `rstrip`.
 */

import type { AddedToken } from "./definition.js";

/** A section of text, or an added token. */
export interface Section {
  readonly text: string;
  /** null for text. */
  readonly id: number | null;
  /** Where the section starts in the text, in UTF-16 code units. */
  readonly begin: number;
  /** Whether that is the start of the text. */
  readonly isFirst: boolean;
}

interface State {
  readonly next: Map<number, State>;
  token: AddedToken | null;
}

// The Rust library's \s and \w; JavaScript's \s includes U+FEFF and lacks U+0085, and its \w is ASCII.
const startsWithWord = /^[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]/u;
const isSpace = /^\p{White_Space}$/u;

export class AddedTokenSplitter {
  readonly #root: State = { next: new Map(), token: null };

  /** Tokens by the text to find: their content, or its normalized form. */
  constructor(tokens: Iterable<readonly [text: string, token: AddedToken]>) {
    for (const [text, token] of tokens) {
      let state = this.#root;
      for (let i = 0; i < text.length; i++) {
        const unit = text.charCodeAt(i);
        let next = state.next.get(unit);
        if (!next) {
          next = { next: new Map(), token: null };
          state.next.set(unit, next);
        }
        state = next;
      }
      if (state !== this.#root) state.token ??= token;
    }
  }

  split(text: string): Section[] {
    const sections: Section[] = [];
    const push = (begin: number, end: number, id: number | null): void => {
      sections.push({ text: text.slice(begin, end), id, begin, isFirst: begin === 0 });
    };
    let covered = 0;
    let at = 0;
    while (at < text.length) {
      const found = this.#longestAt(text, at);
      if (!found) {
        at++;
        continue;
      }
      const { token, end } = found;
      // A match that is not a whole word is skipped entirely.
      if (!token.singleWord || isWholeWord(text, at, end)) {
        const begin = token.leftStrip ? Math.max(spacesBefore(text, at), covered) : at;
        const stop = token.rightStrip ? spacesAfter(text, end) : end;
        if (covered < begin) push(covered, begin, null);
        // The previous token's white space may have covered this one.
        if (begin < stop) push(begin, stop, token.id);
        covered = stop;
      }
      at = end;
    }
    if (covered < text.length) push(covered, text.length, null);
    return sections;
  }

  #longestAt(text: string, begin: number): { token: AddedToken; end: number } | null {
    let longest: { token: AddedToken; end: number } | null = null;
    let state = this.#root.next.get(text.charCodeAt(begin));
    for (let end = begin + 1; state; end++) {
      if (state.token) longest = { token: state.token, end };
      state = state.next.get(text.charCodeAt(end));
    }
    return longest;
  }
}

function isWholeWord(text: string, begin: number, end: number): boolean {
  return !startsWithWord.test(characterBefore(text, begin)) && !startsWithWord.test(text.slice(end, end + 2));
}

/** Empty at the text's start. A character class before `$` would be simpler, but V8 14 misses characters of two code units there. */
function characterBefore(text: string, end: number): string {
  const isPair = /^[\uDC00-\uDFFF]$/.test(text.charAt(end - 1)) && /^[\uD800-\uDBFF]$/.test(text.charAt(end - 2));
  return text.slice(Math.max(0, end - (isPair ? 2 : 1)), end);
}

/** The start of the white space that ends at `end`. White space lies in the basic plane: one code unit each. */
function spacesBefore(text: string, end: number): number {
  let begin = end;
  while (begin > 0 && isSpace.test(text.charAt(begin - 1))) begin--;
  return begin;
}

function spacesAfter(text: string, begin: number): number {
  let end = begin;
  while (end < text.length && isSpace.test(text.charAt(end))) end++;
  return end;
}
