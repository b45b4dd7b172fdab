/**
 * Unigram (Kudo, 2018): the split of a word whose tokens have the highest sum of scores. A character that no token spells costs ten
 * more than the rarest token, and neighbouring ones become one unknown token.
 */

import type { Json } from "../../base/json.js";
import { float64At, int32At } from "../../base/list.js";
import { codePointAt } from "../characters.js";
import { asList, asString } from "../json.js";
import { textBytes } from "./bytes.js";
import { invalidTokenizer } from "./vocabulary.js";
import type { WordModel, WordToken } from "./word-model.js";

const unknownPenalty = 10;
/** Marks an unknown character; ids are not negative. */
const unknown = -1;

export class Unigram implements WordModel {
  readonly #ids = new Map<string, number>();
  readonly #scores: Float64Array;
  /** The length of the longest token that begins with two code units, or with the only one of a shorter token. */
  readonly #longest = new Map<string, number>();
  readonly #unknownScore: number;
  readonly #unkId: number | null;
  readonly #byteFallback: boolean;

  /** `model` has a vocabulary of `[token, score]`. @throws LorikeetError `model_invalid` for a score or an unk_id that cannot be. */
  constructor(model: Json) {
    const rows = asList(model.vocab);
    this.#scores = new Float64Array(rows.length);
    let least = Number.POSITIVE_INFINITY;
    for (const [id, row] of rows.entries()) {
      const [token, score] = asList(row);
      const text = asString(token) ?? "";
      if (typeof score !== "number") throw invalidTokenizer(`row ${id} of the vocabulary must be [token, score]`);
      this.#ids.set(text, id);
      this.#scores[id] = score;
      least = Math.min(least, score);
      const start = text.slice(0, 2);
      this.#longest.set(start, Math.max(this.#longest.get(start) ?? 0, text.length));
    }
    const { unk_id: unk } = model;
    if (unk !== null && unk !== undefined && !(typeof unk === "number" && unk in this.#scores))
      throw invalidTokenizer(`its unk_id is ${JSON.stringify(unk)} and its vocabulary has ${rows.length} tokens`);
    this.#unkId = typeof unk === "number" ? unk : null;
    this.#unknownScore = least - unknownPenalty;
    this.#byteFallback = model.byte_fallback === true;
  }

  encode(word: string): readonly number[] {
    return this.encodeTokens(word).map(({ id }) => id);
  }

  encodeTokens(word: string): readonly WordToken[] {
    const tokens: WordToken[] = [];
    for (const { id, begin, end } of this.#bestSplit(word)) {
      if (id !== unknown) tokens.push({ id, begin, end });
      else {
        const text = word.slice(begin, end);
        for (const each of this.#unknownIds(text))
          tokens.push({ id: each, begin, end, ...(each === this.#unkId && { text }) });
      }
    }
    return tokens;
  }

  /** The bytes of text that no token spells, if the model has them, else the unknown token. */
  #unknownIds(text: string): readonly number[] {
    // Joined unknown characters can spell a token of the vocabulary.
    const known = this.#ids.get(text);
    if (known !== undefined) return [known];
    const bytes = this.#byteFallback ? [...textBytes(text)].map((byte) => this.#ids.get(byteToken(byte))) : [];
    const ids = bytes.filter((id) => id !== undefined);
    if (this.#byteFallback && ids.length === bytes.length) return ids;
    return this.#unkId === null ? [] : [this.#unkId];
  }

  /** Viterbi's search, over the ends of tokens. */
  #bestSplit(word: string): WordToken[] {
    const best = new Float64Array(word.length + 1);
    const startOf = new Int32Array(word.length + 1).fill(-1);
    const idOf = new Int32Array(word.length + 1);
    const offer = (begin: number, end: number, id: number, score: number): void => {
      if (int32At(startOf, end) >= 0 && score <= float64At(best, end)) return;
      best[end] = score;
      startOf[end] = begin;
      idOf[end] = id;
    };
    for (let begin = 0; begin < word.length; ) {
      const before = float64At(best, begin);
      const next = begin + (codePointAt(word, begin) > 0xffff ? 2 : 1);
      let isSpelled = false;
      for (const end of this.#ends(word, begin)) {
        const id = this.#ids.get(word.slice(begin, end));
        if (id === undefined) continue;
        offer(begin, end, id, float64At(this.#scores, id) + before);
        isSpelled ||= end === next;
      }
      if (!isSpelled) offer(begin, next, unknown, this.#unknownScore + before);
      begin = next;
    }
    return this.#trace(word, startOf, idOf);
  }

  /** Where tokens that begin at `begin` could end, nearest first. */
  *#ends(word: string, begin: number): Iterable<number> {
    if (this.#longest.has(word.charAt(begin))) yield begin + 1;
    const longest = this.#longest.get(word.slice(begin, begin + 2)) ?? 0;
    const last = Math.min(word.length, begin + longest);
    for (let end = begin + 2; end <= last; end++) yield end;
  }

  /** The tokens of the best path, with neighbouring unknown ones joined. */
  #trace(word: string, startOf: Int32Array, idOf: Int32Array): WordToken[] {
    const isUnknown = (id: number): boolean => id === unknown || id === this.#unkId;
    const tokens: WordToken[] = [];
    for (let end = word.length; end > 0; ) {
      const begin = int32At(startOf, end);
      const id = int32At(idOf, end);
      const after = tokens.at(-1);
      if (after && isUnknown(id) && after.id === unknown) tokens[tokens.length - 1] = { ...after, begin };
      else tokens.push({ id: isUnknown(id) ? unknown : id, begin, end });
      end = begin;
    }
    return tokens.reverse();
  }
}

const byteToken = (byte: number): string => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`;
