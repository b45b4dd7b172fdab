/** Bodies of Hugging Face's pipelines: `{"inputs", "parameters"}`, or a picture's bytes. */

import * as v from "valibot";
import { flag, integer, listOf, objectField, real } from "../body/field-kinds.js";
import { type BodyFormat, describe, faultsError, type IgnoredTable, invalid, parse } from "../body/parse.js";
import { type TextBounds, textInputsField } from "../body/text-inputs.js";
import { pairedRows, sentencesField, type TextRows, textRowsField } from "../body/text-rows.js";
import { aggregations } from "../tasks/entities.js";
import { activations } from "../tasks/label-scores.js";
import type { TextInput } from "../tasks/text-tasks.js";

const maxTopK = 10_000;
const optionsField = v.optional(objectField("must be an object"));
const parametersField = v.optional(objectField("must be an object"));
/** `options` are of the hosted service: whether to use its cache, and to wait until a model is loaded. */
const commonEntries = { parameters: parametersField, options: optionsField };

const topK = v.optional(integer(1, maxTopK));
const activation = v.optional(v.picklist(activations, `must be one of ${activations.join(", ")}`));
const truncation = v.optional(flag, false);

const labelSchema = v.object({ top_k: topK, function_to_apply: activation }, "is required");
const textLabelSchema = v.object({ top_k: topK, function_to_apply: activation, truncation }, "is required");
const vectorSchema = v.object({ truncation, truncate: truncation, normalize: v.optional(flag) }, "is required");
const similaritySchema = v.object({ truncate: truncation }, "is required");
const maxIgnored = 1000;
const ignoredRule = `must be a list of at most ${maxIgnored} labels`;
const tagSchema = v.object(
  {
    aggregation_strategy: v.optional(v.picklist(aggregations, `must be one of ${aggregations.join(", ")}`), "simple"),
    ignore_labels: v.optional(listOf(v.string(ignoredRule), 0, maxIgnored, ignoredRule), ["O"]),
    truncation,
  },
  "is required",
);
const detectionSchema = v.object({ threshold: v.optional(real(0, 1)) }, "is required");

/** Reads a pipeline's parameters. Throws one LorikeetError that names every fault. */
const read = <E extends v.ObjectEntries>(schema: v.ObjectSchema<E, string>, given: unknown) =>
  parse({ schema, known: Object.keys(schema.entries), ignored: {} }, given ?? {});

export const labelParameters = (given: unknown) => read(labelSchema, given);
export const textLabelParameters = (given: unknown) => read(textLabelSchema, given);
export const tagParameters = (given: unknown) => read(tagSchema, given);
export const detectionParameters = (given: unknown) => read(detectionSchema, given);

/** Throws one LorikeetError that names every fault. */
function readBody<E extends v.ObjectEntries>(entries: E, body: unknown, ignored: IgnoredTable = {}) {
  const schema = v.object({ ...commonEntries, ...entries }, "is required");
  return parse({ schema, known: Object.keys(schema.entries), ignored } satisfies BodyFormat<typeof schema>, body);
}

export interface TextBody {
  readonly texts: readonly TextInput[];
  /** Whether `inputs` was one text, not a list. */
  readonly isSingle: boolean;
  readonly parameters: unknown;
}

/** Throws one LorikeetError that names every fault. */
export function parseTextBody(body: unknown, bounds: TextBounds): TextBody {
  const { inputs, parameters } = readBody({ inputs: textInputsField(bounds, false) }, body);
  return { texts: inputs, isSingle: isOne(body), parameters };
}

const isOne = (body: unknown): boolean => typeof (body as { inputs?: unknown }).inputs === "string";

export interface RowsBody extends TextRows {
  readonly parameters: unknown;
}

/** Texts, or pairs of texts that the model reads together. Throws one LorikeetError that names every fault. */
export function parseRowsBody(body: unknown, bounds: TextBounds): RowsBody {
  const { inputs, parameters } = readBody({ inputs: textRowsField(bounds, pairedRows) }, body);
  return { ...inputs, parameters };
}

export interface VectorBody extends TextBody {
  readonly truncates: boolean;
  /** null: as the model says. */
  readonly normalizes: boolean | null;
}

/** Texts with the parameters of feature-extraction, which may stand beside them. Throws one LorikeetError that names every fault. */
export function parseVectorBody(body: unknown, bounds: TextBounds): VectorBody {
  const beside = { truncate: truncation, normalize: v.optional(flag) };
  const fields = readBody({ inputs: textInputsField(bounds, false), ...beside }, body, {
    truncation_direction: { allowed: "right", accepts: (value) => String(value).toLowerCase() === "right" },
  });
  const parameters = read(vectorSchema, fields.parameters);
  return {
    ...{ texts: fields.inputs, isSingle: isOne(body), parameters },
    truncates: fields.truncate || parameters.truncate || parameters.truncation,
    normalizes: parameters.normalize ?? fields.normalize ?? null,
  };
}

/** A sentence beside each of several. Throws one LorikeetError that names every fault. */
export function parseSimilarityBody(body: unknown, bounds: TextBounds) {
  const { inputs: pairs, parameters } = readBody({ inputs: sentencesField(bounds) }, body);
  return { pairs, truncates: read(similaritySchema, parameters).truncate };
}

export interface ImageBody {
  readonly image: Uint8Array;
  readonly parameters: unknown;
}

const base64Rule = "must be a picture in base64, which a data: URL may hold";

/** A picture's bytes as they are, or in base64 in JSON. Throws one LorikeetError that names every fault. */
export function parseImageBody(body: unknown): ImageBody {
  if (body instanceof Uint8Array) return { image: body, parameters: {} };
  const { inputs, parameters } = readBody({ inputs: v.string(base64Rule) }, body);
  // Tools that write base64 break its lines.
  const text = inputs.replace(/^data:[^,]{0,100};base64,/, "").replace(/\s+/g, "");
  if (text === "" || text.length % 4 === 1 || !/^[A-Za-z0-9+/_-]+={0,2}$/.test(text))
    throw faultsError([invalid("inputs", `${base64Rule}; found ${describe(inputs)}`)]);
  return { image: Buffer.from(text, "base64"), parameters };
}
