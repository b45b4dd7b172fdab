/** The parameters that completions and chat share: their schemas, and what must hold between them. */
import * as v from "valibot";
import { isObject, type Json } from "../../base/json.js";
import { flag, integer, listOf, modelField, real, tokenIds } from "../body/field-kinds.js";
import { mixtureField } from "../body/mixture-field.js";
import { type Fault, Found, invalid, shorten } from "../body/parse.js";
import { mostTokens, type RequestBounds } from "../options.js";
import { repetitionBounds } from "../sampling.js";
import { grammarCross, grammarEntries } from "./grammar-fields.js";

/** A schema for `stop`: one string or a few, none of them empty. */
function stopField(bounds: RequestBounds) {
  const rule = `must be a string of 1 to ${bounds.maxStopCharacters} characters, or up to ${bounds.maxStops} of them`;
  const one = v.pipe(v.string(rule), v.minLength(1, rule), v.maxLength(bounds.maxStopCharacters, rule));
  const many = listOf(one, 0, bounds.maxStops, rule);
  return v.pipe(
    v.union([one, many], rule),
    v.transform((stop) => (typeof stop === "string" ? [stop] : stop)),
  );
}

/** A schema for `logit_bias`: an object from token id, as a decimal number without leading zeros, to a number from -100 to 100. */
function biasField(bounds: RequestBounds) {
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
        const fault = biasFault(key, value, bounds.vocabSize);
        if (fault === null) biases.set(Number(key), Number(value));
        else addIssue({ ...fault, path: [keyItem(dataset.value, key)] });
        isFaulty ||= fault !== null;
      }
      return isFaulty ? NEVER : biases;
    }),
  );
}

function biasFault(key: string, value: unknown, vocabSize: number) {
  if (!/^(0|[1-9]\d{0,15})$/.test(key)) {
    const message = "must have a token id as its key, a decimal number without leading zeros";
    return { message, input: new Found(`the key \`${shorten(key)}\``) };
  }
  if (Number(key) >= vocabSize) {
    const message = `is outside the vocabulary: token ids are 0 to ${vocabSize - 1}`;
    return { message, input: new Found(`token id ${key}`) };
  }
  if (typeof value === "number" && Math.abs(value) <= 100) return null;
  return { message: "must be a number from -100 to 100", input: value };
}

const keyItem = (input: Record<string, unknown>, key: string): v.ObjectPathItem => ({
  type: "object",
  origin: "value",
  input,
  key,
  value: input[key],
});

/** A schema for `seed`: OpenAI allows 64 bits, of which JSON keeps the first 53. */
export function seedField() {
  const rule = "must be an integer of 64 bits (-2^63 to 2^63 - 1)";
  return v.pipe(v.number(rule), v.integer(rule), v.minValue(-(2 ** 63), rule), v.maxValue(2 ** 63, rule));
}

/** A schema for `truncate_prompt_tokens`: how many are kept, or -1 for as many as there is room for. */
function truncationField({ maxContext }: RequestBounds) {
  const rule = `must be -1 or an integer from 1 to ${maxContext}`;
  return v.pipe(
    v.number(rule),
    v.check((count) => count === -1 || (Number.isInteger(count) && count >= 1 && count <= maxContext), rule),
  );
}

function streamOptionsField() {
  const rule = "must be an object of `include_usage`, `continuous_usage_stats` and `include_obfuscation`";
  return v.strictObject(
    { include_usage: v.nullish(flag), continuous_usage_stats: v.nullish(flag), include_obfuscation: v.nullish(flag) },
    rule,
  );
}

/** Entries of a schema for everything that the two kinds of request have in common. */
export function commonEntries(bounds: RequestBounds) {
  return {
    model: modelField,
    adapters: mixtureField(bounds),
    max_tokens: v.optional(integer(0, mostTokens(bounds))),
    max_completion_tokens: v.optional(integer(0, mostTokens(bounds))),
    min_tokens: v.optional(integer(0, mostTokens(bounds)), 0),
    temperature: v.optional(real(0, 2)),
    top_p: v.optional(real(0, 1)),
    top_k: v.optional(integer(-1, Number.MAX_SAFE_INTEGER)),
    min_p: v.optional(real(0, 1)),
    repetition_penalty: v.optional(real(repetitionBounds.min, repetitionBounds.max)),
    presence_penalty: v.optional(real(-2, 2)),
    frequency_penalty: v.optional(real(-2, 2)),
    n: v.optional(integer(1, bounds.maxChoices), 1),
    stop: v.optional(stopField(bounds), []),
    stop_token_ids: v.optional(tokenIds(bounds, 0, bounds.maxStopTokenIds), []),
    include_stop_str_in_output: v.optional(flag, false),
    ignore_eos: v.optional(flag, false),
    seed: v.optional(seedField()),
    logit_bias: v.optional(biasField(bounds)),
    allowed_token_ids: v.optional(tokenIds(bounds, 1, bounds.vocabSize)),
    truncate_prompt_tokens: v.optional(truncationField(bounds)),
    truncation_side: v.optional(v.picklist(["left", "right"], 'must be "left" or "right"'), "left"),
    add_special_tokens: v.optional(flag),
    skip_special_tokens: v.optional(flag, true),
    prompt_logprobs: v.optional(integer(0, bounds.maxLogprobs)),
    return_token_ids: v.optional(flag, false),
    return_tokens_as_token_ids: v.optional(flag, false),
    stream: v.optional(flag, false),
    stream_options: v.optional(streamOptionsField()),
    ...grammarEntries,
  };
}

/** Faults between parameters of both kinds. */
export function* commonCross(body: Json): Iterable<Fault> {
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
  yield* grammarCross(body);
}
