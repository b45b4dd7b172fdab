/** Bodies of Hugging Face's pipelines: `{"inputs", "parameters"}`, or a picture's bytes. */

import * as v from "valibot";
import { flag, integer, listOf, objectField, real } from "../body/field-kinds.js";
import { type BodyFormat, describe, faultsError, invalid, parse } from "../body/parse.js";
import { type TextBounds, textInputsField } from "../body/text-inputs.js";
import { aggregations } from "../tasks/entities.js";
import { activations } from "../tasks/label-scores.js";
import type { TextInput } from "../tasks/text-tasks.js";

const maxTopK = 10_000;
const optionsField = v.optional(objectField("must be an object"));
const parametersField = v.optional(objectField("must be an object"));
const bodyKeys = ["inputs", "parameters", "options"];

const topK = v.optional(integer(1, maxTopK));
const activation = v.optional(v.picklist(activations, `must be one of ${activations.join(", ")}`));
const truncation = v.optional(flag, false);

const labelSchema = v.object({ top_k: topK, function_to_apply: activation }, "is required");
const textLabelSchema = v.object({ top_k: topK, function_to_apply: activation, truncation }, "is required");
const vectorSchema = v.object({ truncation }, "is required");
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
const detectionSchema = v.object({ threshold: v.optional(real(0, 1), 0.5) }, "is required");

/** Reads a pipeline's parameters. Throws one LorikeetError that names every fault. */
const read = <E extends v.ObjectEntries>(schema: v.ObjectSchema<E, string>, given: unknown) =>
  parse({ schema, known: Object.keys(schema.entries), ignored: {} }, given ?? {});

export const labelParameters = (given: unknown) => read(labelSchema, given);
export const textLabelParameters = (given: unknown) => read(textLabelSchema, given);
export const tagParameters = (given: unknown) => read(tagSchema, given);
export const vectorParameters = (given: unknown) => read(vectorSchema, given);
export const detectionParameters = (given: unknown) => read(detectionSchema, given);

export interface TextBody {
  readonly texts: readonly TextInput[];
  /** Whether `inputs` was one text, not a list. */
  readonly isSingle: boolean;
  readonly parameters: unknown;
}

/** Throws one LorikeetError that names every fault. */
export function parseTextBody(body: unknown, bounds: TextBounds): TextBody {
  const format = {
    schema: v.object(
      { inputs: textInputsField(bounds, false), parameters: parametersField, options: optionsField },
      "is required",
    ),
    known: bodyKeys,
    ignored: {},
  } satisfies BodyFormat<v.GenericSchema>;
  const { inputs, parameters } = parse(format, body);
  const isSingle = typeof (body as { inputs?: unknown }).inputs === "string";
  return { texts: inputs, isSingle, parameters };
}

export interface ImageBody {
  readonly image: Uint8Array;
  readonly parameters: unknown;
}

const base64Rule = "must be a picture in base64, which a data: URL may hold";

/** A picture's bytes as they are, or in base64 in JSON. Throws one LorikeetError that names every fault. */
export function parseImageBody(body: unknown): ImageBody {
  if (body instanceof Uint8Array) return { image: body, parameters: {} };
  const format = {
    schema: v.object(
      { inputs: v.string(base64Rule), parameters: parametersField, options: optionsField },
      "is required",
    ),
    known: bodyKeys,
    ignored: {},
  } satisfies BodyFormat<v.GenericSchema>;
  const { inputs, parameters } = parse(format, body);
  const text = inputs.replace(/^data:[^,]{0,100};base64,/, "");
  if (text === "" || text.length % 4 === 1 || !/^[A-Za-z0-9+/_-]+={0,2}$/.test(text))
    throw faultsError([invalid("inputs", `${base64Rule}; found ${describe(inputs)}`)]);
  return { image: Buffer.from(text, "base64"), parameters };
}
