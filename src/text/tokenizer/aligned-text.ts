/**
 * A text that remembers which characters of the original each of its UTF-16 code units came from, through every change of a
 * tokenizer. The rules are those of the Rust library's NormalizedString.
 */

import { int32At, numberAt } from "../../base/list.js";
import { characterCount } from "../characters.js";
import { graphemeStarts } from "./graphemes.js";
import type { Match } from "./matches.js";

export class AlignedText {
  readonly text: string;
  /** Of the original character, in UTF-16 code units, for each code unit of `text`. */
  readonly #begins: Int32Array;
  readonly #ends: Int32Array;

  private constructor(text: string, begins: Int32Array, ends: Int32Array) {
    this.text = text;
    this.#begins = begins;
    this.#ends = ends;
  }

  static of(text: string): AlignedText {
    const begins = new Int32Array(text.length);
    const ends = new Int32Array(text.length);
    for (let i = 0; i < text.length; ) {
      const size = characterSize(text, i);
      begins.fill(i, i, i + size);
      ends.fill(i + size, i, i + size);
      i += size;
    }
    return new AlignedText(text, begins, ends);
  }

  /** The part of the original that `[begin, end)` of the text, which is not empty, came from. */
  originOf(begin: number, end: number): readonly [begin: number, end: number] {
    return [int32At(this.#begins, begin), int32At(this.#ends, end - 1)];
  }

  slice(begin: number, end: number): AlignedText {
    return new AlignedText(
      this.text.slice(begin, end),
      this.#begins.subarray(begin, end),
      this.#ends.subarray(begin, end),
    );
  }

  /**
   * Changes the text by a function of each character, or of each grapheme for changes that join characters. The characters of a
   * result come from those of its source in order; further ones come from the last.
   */
  changed(change: (text: string) => string, unit: "character" | "grapheme"): AlignedText {
    const whole = change(this.text);
    if (whole === this.text) return this;
    const builder = new Builder(this);
    const changeCharacter = remembered(change);
    const starts = unit === "grapheme" ? graphemeStarts(this.text) : characterStarts(this.text);
    for (let i = 0; i < starts.length; i++) {
      const begin = numberAt(starts, i);
      const source = this.text.slice(begin, starts[i + 1]);
      if (source.length === characterSize(source, 0)) {
        builder.spread(changeCharacter(source), begin, 1);
        continue;
      }
      const result = change(source);
      const parts = Array.from(source);
      const each = parts.map(change);
      if (each.join("") === result) {
        let at = begin;
        for (const [part, changed] of each.entries()) {
          builder.spread(changed, at, 1);
          at += parts[part]?.length ?? 0;
        }
      } else builder.spread(result, begin, parts.length);
    }
    // A change that looked beyond the unit: the whole text is one source.
    if (builder.text !== whole) return new Builder(this).spread(whole, 0, characterCount(this.text)).build();
    return builder.build();
  }

  /** Puts a prefix in front, which comes from the first character. An empty text stays empty. */
  prefixed(prefix: string): AlignedText {
    if (this.text === "") return this;
    const builder = new Builder(this);
    builder.add(prefix, 0);
    return builder.keep(0, this.text.length).build();
  }

  /** Replaces matches; the replacement comes from the last character of its match. */
  replaced(matches: readonly Match[], content: string): AlignedText {
    if (matches.length === 0) return this;
    const builder = new Builder(this);
    let covered = 0;
    for (const [begin, end] of matches) {
      builder.keep(covered, begin).add(content, Math.max(0, end - 1));
      covered = end;
    }
    return builder.keep(covered, this.text.length).build();
  }

  /** A new text whose code units came from `sources` of this one. */
  derive(text: string, sources: readonly number[]): AlignedText {
    const begins = new Int32Array(sources.length);
    const ends = new Int32Array(sources.length);
    for (let i = 0; i < sources.length; i++) {
      const source = numberAt(sources, i);
      begins[i] = int32At(this.#begins, source);
      ends[i] = int32At(this.#ends, source);
    }
    return new AlignedText(text, begins, ends);
  }
}

class Builder {
  readonly #source: AlignedText;
  readonly #from: number[] = [];
  text = "";

  constructor(source: AlignedText) {
    this.#source = source;
  }

  /** Text that comes from the code unit at `at`. */
  add(text: string, at: number): this {
    this.text += text;
    for (let i = 0; i < text.length; i++) this.#from.push(at);
    return this;
  }

  /** Text whose characters come from the `count` characters at `at`, one each, and then from the last of these. */
  spread(text: string, at: number, count: number): this {
    let source = at;
    let left = count;
    for (const character of text) {
      this.add(character, source);
      if (left > 1) source += characterSize(this.#source.text, source);
      left--;
    }
    return this;
  }

  keep(begin: number, end: number): this {
    this.text += this.#source.text.slice(begin, end);
    for (let i = begin; i < end; i++) this.#from.push(i);
    return this;
  }

  build(): AlignedText {
    return this.#source.derive(this.text, this.#from);
  }
}

const rememberedCharacters = 4096;
const memories = new WeakMap<(text: string) => string, Map<string, string>>();

/** The same change, of single characters: texts repeat them. */
function remembered(change: (text: string) => string): (character: string) => string {
  const memory = memories.get(change) ?? new Map<string, string>();
  memories.set(change, memory);
  return (character) => {
    const known = memory.get(character);
    if (known !== undefined) return known;
    if (memory.size >= rememberedCharacters) memory.clear();
    const changed = change(character);
    memory.set(character, changed);
    return changed;
  };
}

function characterStarts(text: string): number[] {
  const starts: number[] = [];
  for (let i = 0; i < text.length; i += characterSize(text, i)) starts.push(i);
  return starts;
}

const characterSize = (text: string, at: number): number => ((text.codePointAt(at) ?? 0) > 0xffff ? 2 : 1);
