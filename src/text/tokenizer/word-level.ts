/** Whole words to ids. */

import type { Json } from "../../base/json.js";
import { readVocabulary, unknownId } from "./vocabulary.js";
import type { WordModel, WordToken } from "./word-model.js";

export class WordLevel implements WordModel {
  readonly #ids: ReadonlyMap<string, number>;
  readonly #unkId: number;

  /** @throws LorikeetError `model_invalid` without a token for unknown words. */
  constructor(model: Json) {
    this.#ids = readVocabulary(model);
    this.#unkId = unknownId(model, this.#ids);
  }

  encode(word: string): readonly number[] {
    return [this.#ids.get(word) ?? this.#unkId];
  }

  encodeTokens(word: string): readonly WordToken[] {
    return [{ id: this.#ids.get(word) ?? this.#unkId, begin: 0, end: word.length }];
  }
}
