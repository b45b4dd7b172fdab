/** Encodes text to ids that know their place in the text: what token classification, pairs and truncation need. */

import { int32At } from "../../base/list.js";
import { wellFormed } from "../characters.js";
import { AlignedText } from "./aligned-text.js";
import { createWordModel } from "./create-word-model.js";
import type { Definition } from "./definition.js";
import { createSplitters } from "./encoder.js";
import { createAlignedNormalizer, createNormalizer } from "./normalize.js";
import { createAlignedSplitter } from "./pieces.js";
import { type PostProcessor, readPostProcessor } from "./post-processor.js";
import { trimSpan } from "./trim-span.js";

/** The tokens of one text, without the special tokens around it. All lists have the same length. */
export interface SpanTokens {
  readonly ids: Int32Array<ArrayBuffer>;
  /** [begin, end) in the text, in characters. */
  readonly begins: Int32Array<ArrayBuffer>;
  readonly ends: Int32Array<ArrayBuffer>;
  /** The number of the pre-tokenizer's word, counted through the text. */
  readonly words: Int32Array<ArrayBuffer>;
}

export type EncodeSpans = (text: string) => SpanTokens;

/** @throws LorikeetError `model_unsupported` for an unknown part of tokenizer.json, `model_invalid` for an invalid one. */
export function createSpanEncoder(definition: Definition): EncodeSpans {
  const model = createWordModel(definition.model);
  const normalize = createAlignedNormalizer(definition.normalizer);
  const split = createAlignedSplitter(definition.preTokenizer);
  const { trim } = readPostProcessor(definition.postProcessor);
  const [asWritten, afterNormalizing] = createSplitters(definition.added, createNormalizer(definition.normalizer));

  return (original) => {
    const text = wellFormed(original);
    const whole = AlignedText.of(text);
    const tokens = new TokenList(text, trim);
    for (const section of asWritten.split(text)) {
      const source = whole.slice(section.begin, section.begin + section.text.length);
      if (section.id !== null) {
        tokens.add(section.id, source.originOf(0, source.text.length), section.text);
        tokens.endWord();
        continue;
      }
      const normalized = normalize(source);
      for (const part of afterNormalizing.split(normalized.text)) {
        const piece = normalized.slice(part.begin, part.begin + part.text.length);
        if (part.id !== null) {
          tokens.add(part.id, piece.originOf(0, piece.text.length), part.text);
          tokens.endWord();
          continue;
        }
        for (const word of split(piece, section.isFirst && part.isFirst)) {
          for (const { id, begin, end, text: spelling = definition.tokens[id] } of model.encodeTokens(word.text))
            tokens.add(id, word.originOf(begin, end), spelling ?? "");
          tokens.endWord();
        }
      }
    }
    return tokens.build();
  };
}

type Trim = PostProcessor["trim"];

class TokenList {
  readonly #ids: number[] = [];
  readonly #begins: number[] = [];
  readonly #ends: number[] = [];
  readonly #words: number[] = [];
  readonly #characterAt: (unit: number) => number;
  readonly #trim: Trim;
  #word = 0;

  constructor(text: string, trim: Trim) {
    this.#characterAt = characterIndex(text);
    this.#trim = trim;
  }

  /** `origin` is in UTF-16 code units. */
  add(id: number, origin: readonly [begin: number, end: number], spelling: string): void {
    const span = [this.#characterAt(origin[0]), this.#characterAt(origin[1])] as const;
    const isFirst = this.#ids.length === 0 || span[0] === 0;
    const [begin, end] = this.#trim ? trimSpan(span, spelling, isFirst && this.#trim.keepsFirstSpace) : span;
    this.#ids.push(id);
    this.#begins.push(begin);
    this.#ends.push(end);
    this.#words.push(this.#word);
  }

  endWord(): void {
    this.#word++;
  }

  build(): SpanTokens {
    return {
      ids: Int32Array.from(this.#ids),
      begins: Int32Array.from(this.#begins),
      ends: Int32Array.from(this.#ends),
      words: Int32Array.from(this.#words),
    };
  }
}

/** The index in characters of an index in UTF-16 code units. */
function characterIndex(text: string): (unit: number) => number {
  if (!/[\uD800-\uDBFF]/.test(text)) return (unit) => unit;
  const index = new Int32Array(text.length + 1);
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    index[i + 1] = int32At(index, i) + (code >= 0xdc00 && code <= 0xdfff ? 0 : 1);
  }
  return (unit) => int32At(index, unit);
}
