/** The parameters that completions and chat share: their schemas, and the values of others that change nothing. */
import * as v from "valibot";
import type { GatewayOptions } from "./options.js";
import { type Fault, invalid, isObject, type JsonObject, type NeutralTable } from "./parse.js";

/** What the door must know of the model and the bounds. */
export interface FieldBounds extends GatewayOptions {
  readonly vocabSize: number;
  readonly maxContext: number;
}

export const integer = (min: number, max: number) => {
  const rule = `must be an integer from ${min} to ${max}`;
  return v.pipe(v.number(rule), v.integer(rule), v.minValue(min, rule), v.maxValue(max, rule));
};

export const real = (min: number, max: number) => {
  const rule = `must be a number from ${min} to ${max}`;
  return v.pipe(v.number(rule), v.minValue(min, rule), v.maxValue(max, rule));
};

export const flag = v.boolean("must be true or false");

/** A list whose length is judged before any of its items: a stranger's may be very long. */
export function listOf<const Item extends v.GenericSchema>(item: Item, min: number, max: number, rule: string) {
  return v.pipe(v.array(v.unknown(), rule), v.minLength(min, rule), v.maxLength(max, rule), v.array(item, rule));
}

/** A schema for `stop`: one string or a few, none of them empty. */
function stopField(bounds: FieldBounds) {
  const rule = `must be a string of 1 to ${bounds.maxStopCharacters} characters, or up to ${bounds.maxStops} of them`;
  const one = v.pipe(v.string(rule), v.minLength(1, rule), v.maxLength(bounds.maxStopCharacters, rule));
  const many = listOf(one, 0, bounds.maxStops, rule);
  return v.pipe(
    v.union([one, many], rule),
    v.transform((stop) => (typeof stop === "string" ? [stop] : stop)),
  );
}

/** A schema for `logit_bias`: an object from token id, as a decimal number without leading zeros, to a number from -100 to 100. */
function biasField(bounds: FieldBounds) {
  const rule =
    `must be an object of up to ${bounds.maxLogitBias} token ids (0 to ${bounds.vocabSize - 1}) ` +
    "and numbers from -100 to 100";
  return v.pipe(
    v.custom<Record<string, unknown>>(
      (input) => isObject(input) && Object.keys(input).length <= bounds.maxLogitBias,
      rule,
    ),
    v.rawTransform<Record<string, unknown>, ReadonlyMap<number, number>>(({ dataset, addIssue, NEVER }) => {
      const biases = new Map<number, number>();
      let isFaulty = false;
      for (const [key, value] of Object.entries(dataset.value)) {
        const message = biasFault(key, value, bounds.vocabSize);
        if (message === null) biases.set(Number(key), Number(value));
        else addIssue({ message, input: value, path: [keyItem(dataset.value, key)] });
        isFaulty ||= message !== null;
      }
      return isFaulty ? NEVER : biases;
    }),
  );
}

function biasFault(key: string, value: unknown, vocabSize: number): string | null {
  if (!/^(0|[1-9]\d{0,15})$/.test(key))
    return "must have a token id as its key, a decimal number without leading zeros";
  if (Number(key) >= vocabSize) return `is outside the vocabulary: token ids are 0 to ${vocabSize - 1}`;
  return typeof value === "number" && Math.abs(value) <= 100 ? null : "must be a number from -100 to 100";
}

const keyItem = (input: Record<string, unknown>, key: string): v.ObjectPathItem => ({
  type: "object",
  origin: "value",
  input,
  key,
  value: input[key],
});

/** A schema for `seed`: OpenAI allows 64 bits, of which JSON keeps the first 53. */
function seedField() {
  const rule = "must be an integer of 64 bits (-2^63 to 2^63 - 1)";
  return v.pipe(v.number(rule), v.integer(rule), v.minValue(-(2 ** 63), rule), v.maxValue(2 ** 63, rule));
}

function streamOptionsField() {
  const rule = "must be an object with `include_usage` true or false";
  return v.strictObject(
    { include_usage: v.nullish(flag), include_obfuscation: v.nullish(v.literal(false, "is supported only as false")) },
    rule,
  );
}

/** Entries of a schema for everything that the two kinds of request have in common. */
export function commonEntries(bounds: FieldBounds) {
  const modelRule = "must be the name of a model, a string of 1 to 512 characters";
  return {
    model: v.pipe(v.string(modelRule), v.minLength(1, modelRule), v.maxLength(512, modelRule)),
    max_tokens: v.optional(integer(0, bounds.maxContext)),
    max_completion_tokens: v.optional(integer(0, bounds.maxContext)),
    temperature: v.optional(real(0, 2)),
    top_p: v.optional(real(0, 1)),
    top_k: v.optional(integer(-1, Number.MAX_SAFE_INTEGER)),
    min_p: v.optional(real(0, 1)),
    repetition_penalty: v.optional(
      v.pipe(
        v.number("must be a number above 0 and at most 10"),
        v.gtValue(0, "must be a number above 0 and at most 10"),
        v.maxValue(10, "must be a number above 0 and at most 10"),
      ),
    ),
    presence_penalty: v.optional(real(-2, 2)),
    frequency_penalty: v.optional(real(-2, 2)),
    n: v.optional(integer(1, bounds.maxChoices), 1),
    stop: v.optional(stopField(bounds), []),
    seed: v.optional(seedField()),
    logit_bias: v.optional(biasField(bounds)),
    stream: v.optional(flag, false),
    stream_options: v.optional(streamOptionsField()),
    ignore_eos: v.optional(flag, false),
    return_token_ids: v.optional(flag, false),
  };
}

const isString = (value: unknown): boolean => typeof value === "string";
const isEmptyList = (value: unknown): boolean => Array.isArray(value) && value.length === 0;

/** Parameters of both that change no answer, or change none at these values. */
export const commonNeutral: NeutralTable = {
  min_tokens: { allowed: "0", accepts: (value) => value === 0 },
  length_penalty: { allowed: "1", accepts: (value) => value === 1 },
  use_beam_search: { allowed: "false", accepts: (value) => value === false },
  skip_special_tokens: { allowed: "true", accepts: (value) => value === true },
  spaces_between_special_tokens: { allowed: "true", accepts: (value) => value === true },
  include_stop_str_in_output: { allowed: "false", accepts: (value) => value === false },
  stop_token_ids: { allowed: "an empty list", accepts: isEmptyList },
  user: { allowed: "a string", accepts: isString },
  safety_identifier: { allowed: "a string", accepts: isString },
  prompt_cache_key: { allowed: "a string", accepts: isString },
  store: { allowed: "false", accepts: (value) => value === false },
  service_tier: { allowed: "a string", accepts: isString },
  metadata: { allowed: "an object", accepts: isObject },
  tools: { allowed: "an empty list", accepts: isEmptyList },
  functions: { allowed: "an empty list", accepts: isEmptyList },
  tool_choice: { allowed: '"none"', accepts: (value) => value === "none" },
  function_call: { allowed: '"none"', accepts: (value) => value === "none" },
  parallel_tool_calls: { allowed: "true or false", accepts: (value) => typeof value === "boolean" },
  response_format: {
    allowed: '{"type":"text"}',
    accepts: (value) => isObject(value) && value.type === "text" && Object.keys(value).length === 1,
  },
};

/** Faults between parameters of both kinds. */
export function* commonCross(body: JsonObject): Iterable<Fault> {
  const { max_tokens: a, max_completion_tokens: b } = body;
  if (a !== undefined && b !== undefined && a !== b) {
    yield invalid(
      "max_tokens",
      "and `max_completion_tokens` are two names of one bound and must be equal when both are given",
    );
  }
  if (body.stream_options !== undefined && body.stream !== true) {
    yield invalid("stream_options", "may be given only with `stream` true");
  }
}
