/**
 * Merges tokenizer.json and tokenizer_config.json: the vocabulary, the added and special tokens, and the configs of the encoder
 * and the decoder.
 */

import { LorikeetError } from "../../base/errors.js";
import { isObject, type Json } from "../../base/json.js";
import { asList, asRecord, asString, describe } from "../json.js";
import { readPart } from "./parts.js";

export interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly special: boolean;
  /** Matched in the normalized text, in its normalized form. */
  readonly normalized: boolean;
  /** Matched only without a letter, digit or underscore on either side. */
  readonly singleWord: boolean;
  /** Includes the white space before it (`leftStrip`) or after it (`rightStrip`). */
  readonly leftStrip: boolean;
  readonly rightStrip: boolean;
}

export interface Definition {
  /** The token of each id as the vocabulary spells it; undefined for unused ids. */
  readonly tokens: readonly (string | undefined)[];
  readonly idOf: ReadonlyMap<string, number>;
  readonly specialIds: ReadonlySet<number>;
  /** bos_token, eos_token and so on, by those names. */
  readonly specialTokens: ReadonlyMap<string, string>;
  readonly added: readonly AddedToken[];
  /** The parts of tokenizer.json; null if the file lacks them. */
  readonly normalizer: Json | null;
  readonly preTokenizer: Json | null;
  readonly model: Json;
  readonly postProcessor: Json | null;
  readonly decoder: Json | null;
}

const specialNames = [
  "bos_token",
  "eos_token",
  "unk_token",
  "sep_token",
  "pad_token",
  "cls_token",
  "mask_token",
] as const;

/** Joins the two files. @throws LorikeetError `model_invalid` if tokenizer.json has no valid vocabulary. */
export function define(file: Json, config: Json): Definition {
  const model = asRecord(file.model);
  if (!model) throw invalid(`tokenizer.json must have an object named "model", but has ${describe(file.model)}`);
  const idOf = vocabulary(model);
  const specialTokens = namedTokens(config);
  const added = addedTokens(file, config, specialTokens, idOf);
  for (const token of added) idOf.set(token.content, token.id);
  const tokens = spellings(idOf, added);
  const specialIds = new Set(added.filter((token) => token.special).map((token) => token.id));
  return {
    tokens,
    idOf,
    specialIds,
    specialTokens,
    added,
    normalizer: readPart(file, "normalizer"),
    preTokenizer: readPart(file, "pre_tokenizer"),
    model,
    // As in transformers, this alone decides: add_bos_token in the config is for tokenizers without a tokenizer.json.
    postProcessor: readPart(file, "post_processor"),
    decoder: readPart(file, "decoder"),
  };
}

const invalid = (fault: string): LorikeetError =>
  new LorikeetError("model_invalid", `The tokenizer cannot be used: ${fault}.`, { param: "tokenizer.json" });

/** A vocabulary is `{token: id}`, or for Unigram `[[token, score]]`. */
function vocabulary(model: Json): Map<string, number> {
  const idOf = new Map<string, number>();
  const { vocab } = model;
  if (isObject(vocab)) {
    for (const [token, id] of Object.entries(vocab)) idOf.set(token, checkedId(token, id));
  } else if (Array.isArray(vocab)) {
    for (const [id, row] of vocab.entries()) {
      const token = asString(asList(row)[0]);
      if (token === null) throw invalid(`row ${id} of the vocabulary must be [token, score], but is ${describe(row)}`);
      idOf.set(token, id);
    }
  } else {
    throw invalid(`its vocabulary must be an object or a list, but is ${describe(vocab)}`);
  }
  return idOf;
}

/** The largest id allowed, since the table of spellings is as long as the largest id. */
const maxTokenId = 16_777_215;

function checkedId(token: string, id: unknown): number {
  if (typeof id === "number" && Number.isInteger(id) && id >= 0 && id <= maxTokenId) return id;
  throw invalid(
    `the token ${JSON.stringify(token)} must have an id from 0 to ${maxTokenId}, but has ${JSON.stringify(id)}`,
  );
}

/** A special token is written as a string or as an object with `content`. */
const spelling = (value: unknown): string | null => asString(value) ?? asString(asRecord(value)?.content);

function namedTokens(config: Json): Map<string, string> {
  const named = new Map<string, string>();
  for (const name of specialNames) {
    const token = spelling(config[name]);
    if (token !== null) named.set(name, token);
  }
  return named;
}

/**
 * tokenizer.json's added tokens, then tokenizer_config.json's, whose flags win if both have a token, as in transformers. A token
 * that the config names (bos_token and so on) is special in any case. One without an id is left out: the model has no row for
 * it.
 */
function addedTokens(
  file: Json,
  config: Json,
  named: ReadonlyMap<string, string>,
  idOf: ReadonlyMap<string, number>,
): AddedToken[] {
  const extra = asList(config.additional_special_tokens ?? config.extra_special_tokens).map(spelling);
  const specials = new Set([...named.values(), ...extra.filter((token) => token !== null)]);
  const added = new Map<string, AddedToken>();
  const add = (row: Json, id: unknown): void => {
    const content = asString(row.content);
    if (content === null || content === "") throw invalid(`an added token has no "content": ${JSON.stringify(row)}`);
    const before = added.get(content);
    added.set(content, {
      content,
      id: before?.id ?? checkedId(content, idOf.get(content) ?? id),
      special: row.special === true || specials.has(content) || before?.special === true,
      normalized: typeof row.normalized === "boolean" ? row.normalized : row.special !== true,
      singleWord: row.single_word === true,
      leftStrip: row.lstrip === true,
      rightStrip: row.rstrip === true,
    });
  };
  for (const row of asList(file.added_tokens)) add(asRecord(row) ?? {}, asRecord(row)?.id);
  const decoder = Object.entries(asRecord(config.added_tokens_decoder) ?? {});
  for (const [id, row] of decoder.sort(([a], [b]) => Number(a) - Number(b))) add(asRecord(row) ?? {}, Number(id));
  for (const content of specials) {
    const id = idOf.get(content);
    if (id !== undefined && !added.has(content)) add({ content, normalized: false, special: true }, id);
  }
  return [...added.values()];
}

function spellings(idOf: ReadonlyMap<string, number>, added: readonly AddedToken[]): (string | undefined)[] {
  let largest = -1;
  for (const id of idOf.values()) largest = Math.max(largest, id);
  const tokens = new Array<string | undefined>(largest + 1).fill(undefined);
  for (const [token, id] of idOf) tokens[id] = token;
  for (const { id, content } of added) tokens[id] = content;
  return tokens;
}
