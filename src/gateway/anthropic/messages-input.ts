/** The bodies of `messages` and `count_tokens`: an untrusted object in, a neutral request or every fault out. */

import * as v from "valibot";
import { isObject, type Json } from "../../base/json.js";
import type { GrammarSource } from "../../grammar/source.js";
import { Wrong } from "../body/custom-field.js";
import { flag, integer, listOf, modelField, real } from "../body/field-kinds.js";
import { mixtureField } from "../body/mixture-field.js";
import { type BodyFormat, describe, describeWord, Found, type IgnoredTable, parse, shorten } from "../body/parse.js";
import { readSchema } from "../openai/grammar-fields.js";
import type { RequestBounds } from "../options.js";
import type { ChatInput, ChatRequest, TokenizeRequest } from "../requests.js";
import { messagesField, systemField } from "./content.js";

/** Anthropic's levels of effort; a chat template may read it. */
const efforts = ["low", "medium", "high", "xhigh", "max"];

const isEmptyList = (value: unknown): boolean => Array.isArray(value) && value.length === 0;
const hasType = (value: unknown, type: string): boolean => isObject(value) && value.type === type;

const commonIgnored: IgnoredTable = {
  tools: { allowed: "an empty list", accepts: isEmptyList },
  tool_choice: { allowed: '{"type":"none"}', accepts: (value) => hasType(value, "none") },
  thinking: { allowed: '{"type":"disabled"}', accepts: (value) => hasType(value, "disabled") },
  cache_control: { allowed: "an object", accepts: isObject },
};

const messagesIgnored: IgnoredTable = {
  ...commonIgnored,
  metadata: { allowed: "an object", accepts: isObject },
  service_tier: {
    allowed: '"auto" or "standard_only"',
    accepts: (value) => value === "auto" || value === "standard_only",
  },
  speed: { allowed: '"standard"', accepts: (value) => value === "standard" },
};

/** What both bodies have. */
function chatEntries(bounds: RequestBounds) {
  return {
    model: modelField,
    messages: messagesField(bounds),
    system: systemField,
    output_config: outputField(),
  };
}

export function messagesFormat(bounds: RequestBounds) {
  const stopRule = `must be a list of up to ${bounds.maxStops} strings of 1 to ${bounds.maxStopCharacters} characters`;
  const stop = v.pipe(v.string(stopRule), v.minLength(1, stopRule), v.maxLength(bounds.maxStopCharacters, stopRule));
  const entries = {
    ...chatEntries(bounds),
    adapters: mixtureField(bounds),
    max_tokens: integer(1, Number.MAX_SAFE_INTEGER),
    stop_sequences: v.optional(listOf(stop, 0, bounds.maxStops, stopRule), []),
    temperature: v.optional(real(0, 2)),
    top_k: v.optional(integer(0, Number.MAX_SAFE_INTEGER)),
    top_p: v.optional(real(0, 1)),
    stream: v.optional(flag, false),
  };
  const schema = v.object(entries, "is required");
  return { schema, known: Object.keys(entries), ignored: messagesIgnored } satisfies BodyFormat<typeof schema>;
}

export function countFormat(bounds: RequestBounds) {
  const entries = chatEntries(bounds);
  const schema = v.object(entries, "is required");
  return { schema, known: Object.keys(entries), ignored: commonIgnored } satisfies BodyFormat<typeof schema>;
}

type ChatFields = v.InferOutput<v.ObjectSchema<ReturnType<typeof chatEntries>, undefined>>;

/** Throws LorikeetError `invalid_value` or `unsupported_parameter` with every fault. */
export function parseMessages(format: ReturnType<typeof messagesFormat>, body: unknown): ChatRequest {
  const fields = parse(format, body);
  return {
    kind: "chat",
    model: fields.model ?? null,
    adapters: fields.adapters,
    ...chatInputOf(fields),
    stream: fields.stream,
    choices: 1,
    maxTokens: fields.max_tokens,
    shortensToFit: true,
    defaultMaxTokens: null,
    minTokens: 0,
    stops: fields.stop_sequences,
    stopTokenIds: [],
    includesStop: false,
    ignoreEos: false,
    keepsSpecialTokens: false,
    addsSpecialTokens: false,
    truncation: null,
    logprobs: null,
    promptLogprobs: null,
    returnTokenIds: false,
    grammar: fields.output_config?.grammar ?? null,
    sampling: {
      temperature: fields.temperature ?? null,
      topK: fields.top_k ?? null,
      topP: fields.top_p ?? null,
      minP: null,
      repetitionPenalty: null,
      presencePenalty: null,
      frequencyPenalty: null,
      logitBias: new Map(),
      allowedIds: null,
      seed: null,
    },
  };
}

/** Throws as `parseMessages` does. */
export function parseCount(format: ReturnType<typeof countFormat>, body: unknown): TokenizeRequest {
  const fields = parse(format, body);
  return { model: fields.model ?? null, input: chatInputOf(fields), addsSpecialTokens: false };
}

/** The answer continues a last message of the assistant. */
function chatInputOf({ messages, system, output_config: output }: ChatFields): ChatInput {
  const continueFinalMessage = messages.at(-1)?.role === "assistant";
  const kwargs = output?.effort == null ? {} : { reasoning_effort: output.effort };
  return {
    messages: system === undefined ? messages : [{ role: "system", content: system }, ...messages],
    template: { addGenerationPrompt: !continueFinalMessage, continueFinalMessage, kwargs },
    tools: null,
  };
}

interface OutputConfig {
  readonly effort: string | null;
  readonly grammar: GrammarSource | null;
}

function outputField() {
  return v.optional(
    v.pipe(
      v.unknown(),
      v.rawTransform<unknown, OutputConfig>(({ dataset, addIssue, NEVER }) => {
        const config = readOutput(dataset.value);
        if (!(config instanceof Wrong)) return config;
        addIssue({ message: config.rule, input: new Found(config.found) });
        return NEVER;
      }),
    ),
  );
}

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
