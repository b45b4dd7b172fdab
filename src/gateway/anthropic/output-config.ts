/** `output_config`: how much effort an answer is worth, and the schema that it is held to. */
import * as v from "valibot";
import { isObject, type Json } from "../../base/json.js";
import type { GrammarSource } from "../../grammar/source.js";
import { customField, Wrong } from "../body/custom-field.js";
import { describe, describeWord, shorten } from "../body/parse.js";
import { readSchema } from "../openai/grammar-fields.js";

/** A chat template may read it. */
const efforts = ["low", "medium", "high", "xhigh", "max"];

export interface OutputConfig {
  readonly effort: string | null;
  readonly grammar: GrammarSource | null;
}

export const outputField = v.optional(customField(readOutput));

function readOutput(value: unknown): OutputConfig | Wrong {
  if (!isObject(value)) return new Wrong("must be an object of `effort` and `format`", describe(value));
  const { effort = null, format = null, ...rest } = value;
  const [unknown] = Object.keys(rest);
  if (unknown !== undefined) {
    return new Wrong(`has the field \`${shorten(unknown)}\`, which is not supported`, describe(rest[unknown]));
  }
  if (effort !== null && (typeof effort !== "string" || !efforts.includes(effort))) {
    return new Wrong(`must have an \`effort\` out of ${efforts.join(", ")}`, describeWord(effort));
  }
  const grammar = format === null ? null : readFormat(format);
  return grammar instanceof Wrong ? grammar : { effort, grammar };
}

function readFormat(format: unknown): GrammarSource | Wrong {
  const rule = 'must have {"type":"json_schema","schema":{...}} as its `format`';
  if (!isObject(format)) return new Wrong(rule, describe(format));
  const { type, schema, ...rest }: Json = format;
  if (type !== "json_schema" || Object.keys(rest).length > 0) return new Wrong(rule, describeWord(type));
  return isObject(schema) ? readSchema(schema, "output_config.format.schema") : new Wrong(rule, describe(schema));
}
