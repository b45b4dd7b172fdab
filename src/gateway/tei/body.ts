/** Bodies of text-embeddings-inference's routes, with `model` to name an adapter. */

import * as v from "valibot";
import { flag, integer, listOf, modelField } from "../body/field-kinds.js";
import { type BodyFormat, type IgnoredTable, parse } from "../body/parse.js";
import { type TextBounds, textField, textInputsField } from "../body/text-inputs.js";
import { listedRows, sentencesField, type TextRows, textRowsField } from "../body/text-rows.js";
import type { TextInput, TextPair } from "../tasks/text-tasks.js";

/** Texts are cut at their end, and there are no prompts by name. */
const ignored: IgnoredTable = {
  truncation_direction: { allowed: "right", accepts: (value) => String(value).toLowerCase() === "right" },
};

function read<E extends v.ObjectEntries>(entries: E, body: unknown) {
  const schema = v.object(entries, "is required");
  return parse({ schema, known: Object.keys(entries), ignored } satisfies BodyFormat<typeof schema>, body);
}

const common = { model: modelField, truncate: v.optional(flag, false) };
const truncatedBy = "`truncate: true`";
const maxDimensions = 65_536;

interface Asked {
  readonly model: string | null;
  readonly truncate: boolean;
  readonly truncatedBy: string;
}

export interface EmbedRequest extends Asked {
  readonly texts: readonly TextInput[];
  readonly normalizes: boolean;
  readonly dimensions: number | null;
}

/** `/embed`. Throws one LorikeetError that names every fault, as all of these do. */
export function parseEmbed(body: unknown, bounds: TextBounds): EmbedRequest {
  const entries = {
    ...common,
    inputs: textInputsField(bounds, true),
    normalize: v.optional(flag, true),
    dimensions: v.optional(integer(1, maxDimensions)),
  };
  const { model = null, truncate, inputs, normalize, dimensions = null } = read(entries, body);
  return { model, truncate, truncatedBy, texts: inputs, normalizes: normalize, dimensions };
}

export interface EmbedTokensRequest extends Asked {
  readonly texts: readonly TextInput[];
}

/** `/embed_all` and `/embed_sparse`. */
export function parseEmbedTokens(body: unknown, bounds: TextBounds): EmbedTokensRequest {
  const { model = null, truncate, inputs } = read({ ...common, inputs: textInputsField(bounds, true) }, body);
  return { model, truncate, truncatedBy, texts: inputs };
}

export interface PredictRequest extends Asked {
  readonly texts: TextRows["rows"];
  readonly isSingle: boolean;
  readonly activates: boolean;
}

export function parsePredict(body: unknown, bounds: TextBounds): PredictRequest {
  const entries = { ...common, inputs: textRowsField(bounds, listedRows), raw_scores: v.optional(flag, false) };
  const { model = null, truncate, inputs, raw_scores: raw } = read(entries, body);
  return { model, truncate, truncatedBy, texts: inputs.rows, isSingle: inputs.isSingle, activates: !raw };
}

export interface RankRequest extends Asked {
  readonly pairs: readonly TextPair[];
  readonly activates: boolean;
  readonly withTexts: boolean;
}

export function parseRank(body: unknown, bounds: TextBounds): RankRequest {
  const entries = {
    ...common,
    query: textField,
    texts: textInputsField(bounds, false),
    raw_scores: v.optional(flag, false),
    return_text: v.optional(flag, false),
  };
  const { model = null, truncate, query, texts, raw_scores: raw, return_text: withTexts } = read(entries, body);
  const pairs = texts.map((pair): TextPair => ({ text: query, pair: String(pair) }));
  return { model, truncate, truncatedBy, pairs, activates: !raw, withTexts };
}

export interface SimilarityRequest extends Asked {
  readonly pairs: readonly TextPair[];
}

export function parseSimilarity(body: unknown, bounds: TextBounds): SimilarityRequest {
  const settings = v.strictObject({ truncate: v.optional(flag, false) }, "must be an object with truncate");
  const entries = { model: modelField, inputs: sentencesField(bounds), parameters: v.optional(settings, {}) };
  const { model = null, inputs: pairs, parameters } = read(entries, body);
  return { model, ...parameters, truncatedBy: "`truncate: true` in `parameters`", pairs };
}

export interface TokenizeRequest {
  readonly model: string | null;
  readonly texts: readonly string[];
  readonly addsSpecialTokens: boolean;
}

export function parseTokenize(body: unknown, bounds: TextBounds): TokenizeRequest {
  const entries = {
    model: modelField,
    inputs: textInputsField(bounds, false),
    add_special_tokens: v.optional(flag, true),
  };
  const { model = null, inputs, add_special_tokens: addsSpecialTokens } = read(entries, body);
  return { model, texts: inputs.map(String), addsSpecialTokens };
}

export interface DecodeRequest {
  readonly model: string | null;
  readonly ids: readonly (readonly number[])[];
  /** The field of the ids, for faults. */
  readonly param: string;
  readonly keepsSpecialTokens: boolean;
}

export function parseDecode(body: unknown, { maxSequences, maxCharacters }: TextBounds): DecodeRequest {
  const rule = `must be a list of token ids, or of at most ${maxSequences} such lists, each of at most ${maxCharacters}`;
  const id = v.pipe(v.number(rule), v.safeInteger(rule), v.minValue(0, rule));
  const list = listOf(id, 0, maxCharacters, rule);
  const entries = {
    model: modelField,
    ids: v.union([list, listOf(list, 0, maxSequences, rule)], rule),
    skip_special_tokens: v.optional(flag, true),
  };
  const { model = null, ids, skip_special_tokens: skips } = read(entries, body);
  const lists = (ids as readonly unknown[]).every(Array.isArray) && ids.length > 0 ? ids : [ids];
  return { model, ids: lists as readonly (readonly number[])[], param: "ids", keepsSpecialTokens: !skips };
}
