/** vLLM's `POST /score` and `POST /rerank` (Cohere's too), and TEI's form of `/rerank`: their bodies and answers. */

import { randomUUID } from "node:crypto";
import * as v from "valibot";
import { LorikeetError } from "../../base/errors.js";
import { isObject } from "../../base/json.js";
import { flag, integer, modelField } from "../body/field-kinds.js";
import { parse } from "../body/parse.js";
import { type TextBounds, textInputsField } from "../body/text-inputs.js";
import type { TextPair } from "../tasks/scores.js";
import type { TextInput } from "../tasks/text-tasks.js";

const truncation = v.optional(v.literal(-1, "must be -1, which shortens a text to the longest that the model takes"));

export interface ScoreRequest {
  readonly model: string | null;
  readonly pairs: readonly TextPair[];
  readonly truncate: boolean;
}

export interface RerankRequest extends ScoreRequest {
  /** How many of the best to answer with. */
  readonly count: number;
  /** TEI's form, and whether its answer has the texts. */
  readonly form: "vllm" | { readonly withTexts: boolean };
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
  return { model: fields.model ?? null, pairs, truncate: fields.truncate_prompt_tokens === -1 };
}

/** A body with `documents` is vLLM's, one with `texts` is TEI's. */
export function parseRerank(body: unknown, bounds: TextBounds): RerankRequest {
  const list = textInputsField(bounds, false);
  const query = textInputsField({ ...bounds, maxSequences: 1 }, false);
  if (isObject(body) && body.texts !== undefined) {
    const entries = {
      model: modelField,
      query,
      texts: list,
      return_text: v.optional(flag, false),
      truncate: v.optional(flag, false),
    };
    const fields = parse({ schema: v.object(entries, "is required"), known: Object.keys(entries), ignored: {} }, body);
    const pairs = pairsOf(fields.query, fields.texts);
    const form = { withTexts: fields.return_text };
    return { model: fields.model ?? null, pairs, truncate: fields.truncate, count: pairs.length, form };
  }
  const entries = {
    model: modelField,
    query,
    documents: list,
    top_n: v.optional(integer(1, 2 ** 31 - 1)),
    truncate_prompt_tokens: truncation,
  };
  const fields = parse({ schema: v.object(entries, "is required"), known: Object.keys(entries), ignored: {} }, body);
  const pairs = pairsOf(fields.query, fields.documents);
  const truncate = fields.truncate_prompt_tokens === -1;
  return { model: fields.model ?? null, pairs, truncate, count: fields.top_n ?? pairs.length, form: "vllm" };
}

const pairsOf = ([query = ""]: readonly TextInput[], documents: readonly TextInput[]): TextPair[] =>
  texts(documents).map((pair) => ({ text: String(query), pair }));

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
  { pairs, count, form }: RerankRequest,
  tokens: number,
) {
  const best = scores.map((score, index) => ({ score, index })).sort((a, b) => b.score - a.score || a.index - b.index);
  const kept = best.slice(0, count);
  if (form !== "vllm") {
    return kept.map(({ score, index }) => ({ index, score, ...(form.withTexts && { text: pairs[index]?.pair }) }));
  }
  return {
    id: idOf("rerank"),
    model,
    usage: { total_tokens: tokens },
    results: kept.map(({ score, index }) => ({
      index,
      document: { text: pairs[index]?.pair },
      relevance_score: score,
    })),
  };
}
