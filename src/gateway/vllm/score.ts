/** vLLM's `POST /score` and `POST /rerank` (Cohere's too): their bodies and answers. */

import { randomUUID } from "node:crypto";
import * as v from "valibot";
import { LorikeetError } from "../../base/errors.js";
import { flag, integer, modelField } from "../body/field-kinds.js";
import { parse } from "../body/parse.js";
import { type TextBounds, textField, textInputsField } from "../body/text-inputs.js";
import { ranked } from "../tasks/scores.js";
import type { TextInput, TextPair } from "../tasks/text-tasks.js";
import { truncatedBy } from "./texts.js";

const truncation = v.optional(v.literal(-1, "must be -1, which shortens a text to the longest that the model takes"));

export interface ScoreRequest {
  readonly model: string | null;
  readonly pairs: readonly TextPair[];
  readonly truncate: boolean;
  readonly truncatedBy: string;
}

export interface RerankRequest extends ScoreRequest {
  /** How many of the best to answer with. */
  readonly count: number;
  readonly showsDocuments: boolean;
}

const texts = (list: readonly TextInput[]): string[] => list.map(String);

/** One text of the first list is compared with each of the second. Throws one LorikeetError that names every fault. */
export function parseScore(body: unknown, bounds: TextBounds): ScoreRequest {
  const field = textInputsField(bounds, false);
  const entries = { model: modelField, text_1: field, text_2: field, truncate_prompt_tokens: truncation };
  const fields = parse({ schema: v.object(entries, "is required"), known: Object.keys(entries), ignored: {} }, body);
  const [first, second] = [texts(fields.text_1), texts(fields.text_2)];
  if (first.length !== 1 && first.length !== second.length) {
    const message = `\`text_1\` has ${first.length} texts and \`text_2\` ${second.length}; one, or as many as \`text_2\`, are allowed.`;
    throw new LorikeetError("invalid_value", message, { param: "text_1", found: first.length, allowed: second.length });
  }
  const pairs = second.map((pair, index): TextPair => ({ text: first[first.length === 1 ? 0 : index] ?? "", pair }));
  return { model: fields.model ?? null, pairs, truncate: fields.truncate_prompt_tokens === -1, truncatedBy };
}

/** Throws one LorikeetError that names every fault. */
export function parseRerank(body: unknown, bounds: TextBounds): RerankRequest {
  const entries = {
    model: modelField,
    query: textField,
    documents: textInputsField(bounds, false),
    top_n: v.optional(integer(1, 2 ** 31 - 1)),
    return_documents: v.optional(flag, true),
    truncate_prompt_tokens: truncation,
  };
  const fields = parse({ schema: v.object(entries, "is required"), known: Object.keys(entries), ignored: {} }, body);
  const pairs = pairsOf(fields.query, fields.documents);
  const truncate = fields.truncate_prompt_tokens === -1;
  return {
    ...{ model: fields.model ?? null, pairs, truncate, truncatedBy },
    ...{ count: fields.top_n ?? pairs.length, showsDocuments: fields.return_documents },
  };
}

const pairsOf = (query: string, documents: readonly TextInput[]): TextPair[] =>
  texts(documents).map((pair) => ({ text: query, pair }));

const idOf = (kind: string): string => `${kind}-${randomUUID().replaceAll("-", "")}`;

export function scoreAnswer(model: string, scores: readonly number[], tokens: number) {
  return {
    id: idOf("score"),
    object: "list",
    created: Math.floor(Date.now() / 1000),
    model,
    data: scores.map((score, index) => ({ index, object: "score", score })),
    usage: { prompt_tokens: tokens, total_tokens: tokens, completion_tokens: 0, prompt_tokens_details: null },
  };
}

export function rerankAnswer(
  model: string,
  scores: readonly number[],
  { pairs, count, showsDocuments }: RerankRequest,
  tokens: number,
) {
  return {
    id: idOf("rerank"),
    model,
    usage: { total_tokens: tokens },
    results: ranked(scores)
      .slice(0, count)
      .map(({ score, index }) => {
        const document = showsDocuments && { document: { text: pairs[index]?.pair } };
        return { index, ...document, relevance_score: score };
      }),
  };
}
