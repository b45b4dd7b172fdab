/** The body of a `generate` call: an untrusted object in, a GenerateRequest or every fault out. */

import * as v from "valibot";
import { isObject, type Json } from "../../base/json.js";
import type { GrammarSource } from "../../grammar/source.js";
import { Wrong } from "../body/custom-field.js";
import { flag, integer, listOf, modelField, real } from "../body/field-kinds.js";
import { mixtureField } from "../body/mixture-field.js";
import {
  type BodyFormat,
  describe,
  describeWord,
  type Fault,
  faultsError,
  type IgnoredTable,
  invalid,
  parse,
} from "../body/parse.js";
import { temperatureOf } from "../body/temperature.js";
import { seedField } from "../openai/fields.js";
import { grammarField, readPattern, readSchema } from "../openai/grammar-fields.js";
import { mostTokens, type RequestBounds } from "../options.js";
import type { CompletionRequest } from "../requests.js";
import { repetitionBounds } from "../sampling.js";
import { mergeField } from "./merge-field.js";

/** How the answer is to be serialized. */
export interface GenerateRequest extends CompletionRequest {
  readonly hasDetails: boolean;
  /** The prompt's tokens are part of the details. */
  readonly hasPrefill: boolean;
  /** Alternatives that each token lists. */
  readonly topTokens: number;
  /** The text in front of the answer; "" unless the whole text is to be returned. */
  readonly textBefore: string;
  /** The seed as it was given; null for a greedy answer. */
  readonly reportedSeed: number | null;
}

/** TGI's default. */
const defaultMaxTokens = 100;

const ignored: IgnoredTable = {
  best_of: { allowed: "1", accepts: (value) => value === 1 },
  typical_p: { allowed: "1", accepts: (value) => value === 1 },
  watermark: { allowed: "false", accepts: (value) => value === false },
  adapter_source: {
    allowed: '"local", "hub", "s3" or "pbase"',
    accepts: (value) => typeof value === "string" && ["local", "hub", "s3", "pbase"].includes(value),
  },
};

export function generateFormat(bounds: RequestBounds) {
  const stopRule = `must be a list of up to ${bounds.maxStops} strings of 1 to ${bounds.maxStopCharacters} characters`;
  const stop = v.pipe(v.string(stopRule), v.minLength(1, stopRule), v.maxLength(bounds.maxStopCharacters, stopRule));
  const entries = {
    inputs: v.string("must be a string"),
    stream: v.optional(flag, false),
    adapter_id: modelField,
    adapters: mixtureField(bounds),
    merged_adapters: mergeField(bounds, "ids"),
    adapter_parameters: mergeField(bounds, "adapter_ids"),
    max_new_tokens: v.optional(integer(1, mostTokens(bounds))),
    do_sample: v.optional(flag, false),
    temperature: v.optional(real(0, 2)),
    top_k: v.optional(integer(-1, Number.MAX_SAFE_INTEGER)),
    top_p: v.optional(real(0, 1)),
    repetition_penalty: v.optional(real(repetitionBounds.min, repetitionBounds.max)),
    frequency_penalty: v.optional(real(-2, 2)),
    seed: v.optional(seedField()),
    stop: v.optional(listOf(stop, 0, bounds.maxStops, stopRule), []),
    truncate: v.optional(integer(1, bounds.maxContext)),
    ignore_eos_token: v.optional(flag, false),
    return_full_text: v.optional(flag, false),
    details: v.optional(flag, false),
    decoder_input_details: v.optional(flag, false),
    top_n_tokens: v.optional(integer(0, bounds.maxLogprobs), 0),
    grammar: grammarField(readGrammar),
  };
  const schema = v.object(entries, "is required");
  return { schema, known: Object.keys(entries), ignored, cross } satisfies BodyFormat<typeof schema>;
}

/** Ways to name adapters, of which a request has at most one. */
const adapterNames = ["adapter_id", "adapters", "merged_adapters", "adapter_parameters"];

function cross(body: Json): readonly Fault[] {
  const [first, second] = adapterNames.filter((name) => body[name] !== undefined);
  if (first === undefined || second === undefined) return [];
  return [invalid(first, `and \`${second}\` must not both be given`)];
}

/**
 * Reads `inputs` and `parameters`. Without `stream` the body's own decides.
 * Throws LorikeetError `invalid_value` or `unsupported_parameter` with every fault.
 */
export function parseGenerate(
  format: ReturnType<typeof generateFormat>,
  body: unknown,
  stream: boolean | null,
): GenerateRequest {
  const fields = parse(format, isObject(body) ? flattened(format, body) : body);
  const { top_k = 0, top_p = 1 } = fields;
  const temperature = temperatureOf(fields);
  const isStreamed = stream ?? fields.stream;
  const showsTokens = isStreamed || fields.details;
  return {
    kind: "completions",
    params: { model: "adapter_id", prompt: "inputs", maxTokens: "max_new_tokens" },
    model: fields.adapter_id ?? null,
    adapters: fields.merged_adapters ?? fields.adapter_parameters ?? fields.adapters,
    stream: isStreamed,
    choices: 1,
    prompts: [{ kind: "text", text: fields.inputs }],
    echo: false,
    maxTokens: fields.max_new_tokens ?? null,
    shortensToFit: false,
    defaultMaxTokens,
    minTokens: 0,
    stops: fields.stop,
    stopTokenIds: [],
    // The text ends with its stop string, and the tokens with the stop token.
    includesStop: true,
    ignoreEos: fields.ignore_eos_token,
    keepsSpecialTokens: false,
    addsSpecialTokens: true,
    truncation: fields.truncate === undefined ? null : { tokens: fields.truncate, side: "left" },
    logprobs: showsTokens ? fields.top_n_tokens : null,
    promptLogprobs: fields.decoder_input_details ? 0 : null,
    returnTokenIds: fields.decoder_input_details,
    grammar: fields.grammar ?? null,
    sampling: {
      temperature,
      topK: top_k,
      topP: top_p,
      minP: 0,
      repetitionPenalty: fields.repetition_penalty ?? null,
      presencePenalty: null,
      frequencyPenalty: fields.frequency_penalty ?? null,
      logitBias: new Map(),
      allowedIds: null,
      seed: fields.seed ?? null,
    },
    hasDetails: fields.details,
    hasPrefill: fields.decoder_input_details,
    topTokens: fields.top_n_tokens,
    textBefore: fields.return_full_text ? fields.inputs : "",
    reportedSeed: temperature === 0 ? null : (fields.seed ?? null),
  };
}

const besideParameters = ["inputs", "parameters", "stream"];

/** One object of the body's own fields and those of `parameters`, so that all faults are found together. */
function flattened(format: ReturnType<typeof generateFormat>, body: Json): Json {
  const { parameters = null, ...own } = body;
  const misplaced = Object.keys(own).find((name) => !besideParameters.includes(name) && format.known.includes(name));
  if (misplaced !== undefined) throw faultsError([invalid(misplaced, "belongs into `parameters`")]);
  if (parameters === null) return own;
  if (!isObject(parameters)) {
    throw faultsError([invalid("parameters", `must be an object; found ${describe(parameters)}`)]);
  }
  const outside = besideParameters.find((name) => Object.hasOwn(parameters, name));
  if (outside !== undefined) throw faultsError([invalid(outside, "belongs beside `parameters`, not into it")]);
  return { ...parameters, ...own };
}

function readGrammar(value: unknown): GrammarSource | Wrong {
  const rule =
    'must be {"type":"json","value":{...}}, {"type":"json_schema","value":{"schema":{...}}} or {"type":"regex","value":"..."}';
  if (!isObject(value)) return new Wrong(rule, describe(value));
  switch (value.type) {
    case "json":
      return readSchema(value.value, "grammar.value");
    case "json_schema":
      if (!isObject(value.value)) return new Wrong(rule, `${describe(value.value)} as \`value\``);
      return readSchema(value.value.schema, "grammar.value.schema");
    case "regex":
      return readPattern(value.value, "grammar.value");
    default:
      return new Wrong(rule, `${describeWord(value.type)} as \`type\``);
  }
}
