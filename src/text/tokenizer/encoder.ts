/**
 * Encodes text to ids by the rules of a tokenizer.json, synchronously. Added tokens, models and special tokens are implemented
 * here; pre-tokenizers come from a package.
 */

import type { Json } from "../../base/json.js";
import { wellFormed } from "../characters.js";
import { parseRecord } from "../json.js";
import { AddedTokenSplitter } from "./added-tokens.js";
import { createWordModel } from "./create-word-model.js";
import { type AddedToken, type Definition, define } from "./definition.js";
import { createNormalizer, withoutPrepend } from "./normalize.js";
import { openPackage } from "./package.js";
import { createPostProcess } from "./post-processor.js";
import { repairSplit, runsOf, withoutPrefixSpace } from "./split.js";

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
  const model = createWordModel(definition.model);
  const whole = createPipeline(normalizer, preTokenizer, config);
  const after = createPipeline(withoutPrepend(normalizer), withoutPrefixSpace(preTokenizer), config);
  const [asWritten, afterNormalizing] = createSplitters(definition.added, whole.normalize);
  const postProcess = createPostProcess(definition.postProcessor);

  return (text, { addSpecialTokens, continues = false }) => {
    const ids: number[] = [];
    for (const section of asWritten.split(wellFormed(text))) {
      if (section.id !== null) {
        ids.push(section.id);
        continue;
      }
      const pipeline = continues && section.isFirst ? after : whole;
      for (const part of afterNormalizing.split(pipeline.normalize(section.text))) {
        if (part.id !== null) {
          ids.push(part.id);
          continue;
        }
        const rules = part.isFirst ? pipeline : whole;
        for (const word of rules.words(part.text, section.isFirst && part.isFirst))
          for (const id of model.encode(word)) ids.push(id);
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
  const splits = runsOf(repairSplit(preTokenizer)).map(
    (run) => openPackage({ pre_tokenizer: run }, config).pre_tokenizer,
  );
  return {
    normalize: createNormalizer(normalizer),
    words: (text, isFirst) =>
      splits.reduce<readonly string[]>(
        (pieces, split) =>
          pieces.flatMap(
            (piece, index) => split?.(piece, { section_index: isFirst && index === 0 ? 0 : 1 }) ?? [piece],
          ),
        [text],
      ),
  };
}

/** Splitters for the tokens matched in the raw text and for those matched after normalizing. */
export function createSplitters(
  added: readonly AddedToken[],
  normalize: (text: string) => string,
): readonly [AddedTokenSplitter, AddedTokenSplitter] {
  const rows = (normalized: boolean) => added.filter((token) => token.normalized === normalized);
  return [
    new AddedTokenSplitter(rows(false).map((token) => [token.content, token])),
    new AddedTokenSplitter(rows(true).map((token) => [normalize(token.content), token])),
  ];
}
