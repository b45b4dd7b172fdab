/** vLLM's `/tokenize` and `/detokenize` for task models, which have no chats. */

import * as v from "valibot";
import { flag, modelField } from "../body/field-kinds.js";
import { parse } from "../body/parse.js";
import type { TextBounds } from "../body/text-inputs.js";
import type { DecodeAsked, TokenizeAsked, TokenizedText } from "../tasks/text-tokens.js";
import type { DetokenizeAnswer, TokenizeAnswer } from "./tokenize.js";

interface TokenizeRequest extends TokenizeAsked {
  readonly returnsTexts: boolean;
}

/** Throws one LorikeetError that names every fault. */
export function parseTextTokenize(body: unknown, { maxCharacters }: TextBounds): TokenizeRequest {
  const rule = `must be a text of at most ${maxCharacters} characters`;
  const entries = {
    model: modelField,
    prompt: v.pipe(v.string(rule), v.maxLength(maxCharacters, rule)),
    add_special_tokens: v.optional(flag, true),
    return_token_strs: v.optional(flag, false),
  };
  const fields = parse({ schema: v.object(entries, "is required"), known: Object.keys(entries), ignored: {} }, body);
  return {
    model: fields.model ?? null,
    texts: [fields.prompt],
    addsSpecialTokens: fields.add_special_tokens,
    returnsTexts: fields.return_token_strs,
  };
}

export function textTokenizeAnswer(
  rows: readonly TokenizedText[],
  { returnsTexts }: TokenizeRequest,
  maxLength: number | null,
): Omit<TokenizeAnswer, "max_model_len"> & { readonly max_model_len: number | null } {
  const [{ ids, spellings } = { ids: [], spellings: [] }] = rows;
  return { count: ids.length, max_model_len: maxLength, tokens: ids, token_strs: returnsTexts ? spellings : null };
}

/** Throws one LorikeetError that names every fault. */
export function parseTextDetokenize(body: unknown, { maxCharacters }: TextBounds): DecodeAsked {
  const rule = `must be a list of at most ${maxCharacters} token ids`;
  const id = v.pipe(v.number(rule), v.safeInteger(rule), v.minValue(0, rule));
  const entries = {
    model: modelField,
    tokens: v.pipe(v.array(v.unknown(), rule), v.maxLength(maxCharacters, rule), v.array(id, rule)),
  };
  const { model = null, tokens } = parse(
    { schema: v.object(entries, "is required"), known: Object.keys(entries), ignored: {} },
    body,
  );
  return { model, ids: [tokens], param: "tokens", keepsSpecialTokens: true };
}

export const textDetokenizeAnswer = ([prompt = ""]: readonly string[]): DetokenizeAnswer => ({ prompt });
