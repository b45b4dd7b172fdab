/** WordPiece (Schuster and Nakajima, 2012), as BERT uses it: the longest known prefix of a word, then of what is left of it. */

import type { Json } from "../../base/json.js";
import { characterCount } from "../characters.js";
import { asString } from "../json.js";
import { readVocabulary, unknownId } from "./vocabulary.js";
import type { WordModel, WordToken } from "./word-model.js";

export class WordPiece implements WordModel {
  readonly #ids: ReadonlyMap<string, number>;
  readonly #unkId: number;
  readonly #prefix: string;
  readonly #maxCharacters: number;

  /** @throws LorikeetError `model_invalid` without a token for unknown words. */
  constructor(model: Json) {
    this.#ids = readVocabulary(model);
    this.#unkId = unknownId(model, this.#ids);
    this.#prefix = asString(model.continuing_subword_prefix) ?? "##";
    const { max_input_chars_per_word: most } = model;
    this.#maxCharacters = typeof most === "number" ? most : 100;
  }

  encode(word: string): readonly number[] {
    return this.encodeTokens(word).map(({ id }) => id);
  }

  /** A word with a part that no token spells is unknown as a whole. */
  encodeTokens(word: string): readonly WordToken[] {
    const unknown = [{ id: this.#unkId, begin: 0, end: word.length }];
    if (characterCount(word) > this.#maxCharacters) return unknown;
    const tokens: WordToken[] = [];
    for (let begin = 0; begin < word.length; ) {
      const token = this.#longestAt(word, begin);
      if (!token) return unknown;
      tokens.push(token);
      begin = token.end;
    }
    return tokens;
  }

  #longestAt(word: string, begin: number): WordToken | null {
    const prefix = begin === 0 ? "" : this.#prefix;
    for (let end = word.length; end > begin; end--) {
      const id = this.#ids.get(prefix + word.slice(begin, end));
      if (id !== undefined) return { id, begin, end };
    }
    return null;
  }
}
