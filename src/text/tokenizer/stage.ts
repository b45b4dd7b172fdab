/**
 * The stages of a streaming decoder. A stage takes tokens one at a time and holds back text that a later token may still change.
 * The rules are those of the Rust tokenizers library.
 */

import { byteLevelBytes, fallbackByte, Utf8Stream } from "./bytes.js";

/** `push` takes one token (after fusing, a piece of text); `flush` ends the text. Both return the text that is final. */
export interface Stage {
  push(piece: string): string;
  flush(): string;
}

const stateless = (change: (piece: string) => string): Stage => ({ push: change, flush: () => "" });

export const fuseStage = (): Stage => stateless((piece) => piece);

export const replaceStage = (pattern: RegExp, content: string): Stage =>
  stateless((piece) => piece.replace(pattern, () => content));

/** Strips up to `start` and `stop` copies of a character from the ends of every token. */
export function tokenStripStage(character: string, start: number, stop: number): Stage {
  return stateless((piece) => {
    const characters = Array.from(piece);
    let first = 0;
    while (first < start && characters[first] === character) first++;
    let last = characters.length;
    while (characters.length - last < stop && characters[last - 1] === character) last--;
    return characters.slice(first, Math.max(first, last)).join("");
  });
}

/** Strips the same from the ends of the whole text. Holds back at most `stop` characters. */
export function textStripStage(character: string, start: number, stop: number): Stage {
  let left = start;
  let held = "";
  return {
    push(piece) {
      let rest = piece;
      while (left > 0 && rest.startsWith(character)) {
        rest = rest.slice(character.length);
        left--;
      }
      if (rest !== "") left = 0;
      rest = held + rest;
      let keep = rest.length;
      const least = rest.length - stop * character.length;
      while (keep > least && rest.endsWith(character, keep)) keep -= character.length;
      held = rest.slice(keep);
      return rest.slice(0, keep);
    },
    flush() {
      left = start;
      held = "";
      return "";
    },
  };
}

/** Byte-level tokens to bytes, and bytes to text. */
export function byteLevelStage(): Stage {
  const utf8 = new Utf8Stream();
  return { push: (piece) => utf8.push(byteLevelBytes(piece)), flush: () => utf8.flush() };
}

/** Runs of tokens such as `<0xE2>` become text; any other token ends the run. */
export function byteFallbackStage(): Stage {
  const utf8 = new Utf8Stream();
  return {
    push(piece) {
      const byte = fallbackByte(piece);
      return byte === null ? utf8.flush() + piece : utf8.push(Uint8Array.of(byte));
    },
    flush: () => utf8.flush(),
  };
}

/** Replaces the mark with a space, or drops it at the start of the text if encoding prepended it. */
export function metaspaceStage(mark: string, prepended: boolean): Stage {
  let first = true;
  return {
    push(piece) {
      const space = first && prepended ? "" : " ";
      first = false;
      return piece.replaceAll(mark, space);
    },
    flush() {
      first = true;
      return "";
    },
  };
}

/** The Rust library's default without a decoder: joins tokens with spaces. */
export function joinStage(): Stage {
  let first = true;
  return {
    push(piece) {
      const text = first ? piece : ` ${piece}`;
      first = false;
      return text;
    },
    flush() {
      first = true;
      return "";
    },
  };
}

/** WordPiece's tokens: a space before each word, and with `cleanup` none before punctuation and the ends of English contractions. */
export function wordPieceStage(prefix: string, cleanup: boolean): Stage {
  let first = true;
  return {
    push(piece) {
      const joined = piece.startsWith(prefix) ? piece.slice(prefix.length) : ` ${piece}`;
      const text = first ? piece : joined;
      first = false;
      return cleanup ? cleaned(text) : text;
    },
    flush() {
      first = true;
      return "";
    },
  };
}

/** In the order of the Rust library, which cleans each token by itself. */
const cleanups = [
  [" .", "."],
  [" ?", "?"],
  [" !", "!"],
  [" ,", ","],
  [" ' ", "'"],
  [" n't", "n't"],
  [" 'm", "'m"],
  [" do not", " don't"],
  [" 's", "'s"],
  [" 've", "'ve"],
  [" 're", "'re"],
] as const;

const cleaned = (text: string): string => cleanups.reduce((clean, [from, to]) => clean.replaceAll(from, to), text);

/** Tokens with a mark at the end of each word: a space, but for the last one. */
export function suffixStage(mark: string): Stage {
  let held = "";
  return {
    push(piece) {
      const text = held.replaceAll(mark, " ");
      held = piece;
      return text;
    },
    flush() {
      const text = held.replaceAll(mark, "");
      held = "";
      return text;
    },
  };
}
