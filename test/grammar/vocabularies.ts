/** Vocabularies of grammar tests. */
import { type MaskVocabulary, maskVocabulary } from "../../src/grammar/masks.js";
import { vocabularyTree } from "../../src/grammar/token-tree.js";

/** Every byte, token 65 being "A", and tokens of these texts behind them. */
export function byteVocabulary(texts: readonly string[]): MaskVocabulary {
  return vocabularyOf([...Array.from({ length: 256 }, (_, byte) => [byte]), ...texts.map((text) => Buffer.from(text))]);
}

export function vocabularyOf(spellings: readonly Iterable<number>[]): MaskVocabulary {
  const bytes: number[] = [];
  const offsets = [0];
  for (const spelling of spellings) {
    bytes.push(...spelling);
    offsets.push(bytes.length);
  }
  const tokens = { bytes: Uint8Array.from(bytes), offsets: Int32Array.from(offsets) };
  return maskVocabulary(tokens, vocabularyTree(tokens));
}
