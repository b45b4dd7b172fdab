/**
 * Encodes text to ids by the rules of a tokenizer.json, synchronously. Added tokens, byte-pair encoding and special tokens are
 * implemented here; pre-tokenizers and other models come from a package.
 */

import type { Json } from "../../base/json.js";
import { wellFormed } from "../characters.js";
import { asString, parseRecord } from "../json.js";
import { AddedTokenSplitter } from "./added-tokens.js";
import { Bpe } from "./bpe.js";
import { type AddedToken, type Definition, define } from "./definition.js";
import { createNormalizer, withoutPrepend } from "./normalize.js";
import { openPackage } from "./package.js";
import { createPostProcessor } from "./post-processor.js";
import { repairSplit, withoutPrefixSpace } from "./split.js";

/** The bytes of the two files, in shared memory, so that a worker reads them without a copy. */
export interface TokenizerFiles {
  readonly directory: string;
  readonly tokenizer: Uint8Array;
  /** null without a tokenizer_config.json. */
  readonly config: Uint8Array | null;
}

export interface EncodeRules {
  readonly addSpecialTokens: boolean;
  /** The text continues other text: no word-start mark is put in front of it. */
  readonly continues?: boolean | undefined;
}

export type Encode = (text: string, rules: EncodeRules) => number[];

/** Parses the files. @throws LorikeetError `model_invalid` with what was found. */
export function parseFiles(files: TokenizerFiles): { definition: Definition; config: Json } {
  const config = files.config ? parseRecord(files.config, `${files.directory}/tokenizer_config.json`) : {};
  const file = parseRecord(files.tokenizer, `${files.directory}/tokenizer.json`);
  return { definition: define(file, config), config };
}

/** @throws LorikeetError `model_unsupported` for an unknown part of tokenizer.json, `model_invalid` for an invalid one. */
export function createEncoder(definition: Definition, config: Json): Encode {
  const { normalizer, preTokenizer } = definition;
  const model = createModel(definition, config);
  const whole = createPipeline(normalizer, preTokenizer, config);
  const behind = createPipeline(withoutPrepend(normalizer), withoutPrefixSpace(preTokenizer), config);
  const [asWritten, afterNormalizing] = createSplitters(definition.added, whole.normalize);
  const postProcess = createPostProcessor(definition.postProcessor);

  return (text, { addSpecialTokens, continues = false }) => {
    const ids: number[] = [];
    for (const section of asWritten.split(wellFormed(text))) {
      if (section.id !== null) {
        ids.push(section.id);
        continue;
      }
      const pipeline = continues && section.isFirst ? behind : whole;
      for (const part of afterNormalizing.split(pipeline.normalize(section.text))) {
        if (part.id !== null) {
          ids.push(part.id);
          continue;
        }
        const rules = part.isFirst ? pipeline : whole;
        for (const word of rules.words(part.text, section.isFirst && part.isFirst))
          for (const id of model(word)) ids.push(id);
      }
    }
    return addSpecialTokens ? postProcess(ids) : ids;
  };
}

interface Pipeline {
  normalize(text: string): string;
  /** `isFirst`: whether the section starts at the start of the text. */
  words(text: string, isFirst: boolean): readonly string[];
}

function createPipeline(normalizer: Json | null, preTokenizer: Json | null, config: Json): Pipeline {
  const { pre_tokenizer: split } = openPackage({ pre_tokenizer: repairSplit(preTokenizer) }, config);
  return {
    normalize: createNormalizer(normalizer),
    words: (text, isFirst) => split?.(text, { section_index: isFirst ? 0 : 1 }) ?? [text],
  };
}

function createModel({ model }: Definition, config: Json): (word: string) => readonly number[] {
  if (model.type === "BPE" || (model.type === undefined && Array.isArray(model.merges))) {
    const bpe = new Bpe(model);
    return (word) => bpe.encode(word);
  }
  const { model: encode } = openPackage({ model }, config);
  const idOf = modelIds(model);
  const unk = asString(model.unk_token);
  const unkOf = unk === null ? undefined : idOf.get(unk);
  const unkId = unkOf ?? (typeof model.unk_id === "number" ? model.unk_id : null);
  return (word) =>
    encode([word])
      .map((token) => idOf.get(token) ?? unkId)
      .filter((id) => id !== null);
}

/** The model's vocabulary: `{token: id}`, or for Unigram `[[token, score]]`. */
function modelIds({ vocab }: Json): Map<string, number> {
  const rows: [unknown, unknown][] = Array.isArray(vocab)
    ? vocab.map((row: unknown, id) => [Array.isArray(row) ? row[0] : row, id])
    : Object.entries(vocab ?? {});
  const ids = new Map<string, number>();
  for (const [token, id] of rows) if (typeof token === "string" && typeof id === "number") ids.set(token, id);
  return ids;
}

/** Splitters for the tokens matched in the raw text and for those matched after normalizing. */
function createSplitters(
  added: readonly AddedToken[],
  normalize: (text: string) => string,
): readonly [AddedTokenSplitter, AddedTokenSplitter] {
  const rows = (normalized: boolean) => added.filter((token) => token.normalized === normalized);
  return [
    new AddedTokenSplitter(rows(false).map((token) => [token.content, token])),
    new AddedTokenSplitter(rows(true).map((token) => [normalize(token.content), token])),
  ];
}
