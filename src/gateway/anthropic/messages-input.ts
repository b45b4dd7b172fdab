/** The bodies of `messages` and `count_tokens`: an untrusted object in, a neutral request or every fault out. */
import * as v from "valibot";
import { isObject, type Json } from "../../base/json.js";
import { flag, integer, listOf, modelField, real } from "../body/field-kinds.js";
import { mixtureField } from "../body/mixture-field.js";
import { type BodyFormat, type Fault, type IgnoredTable, parse } from "../body/parse.js";
import type { RequestBounds } from "../options.js";
import type { ChatInput, ChatRequest, TokenizeRequest } from "../requests.js";
import { messagesField, systemField } from "./content.js";
import { outputField } from "./output-config.js";
import { thinkingVariables, toolCross, toolEntries, toolInputOf } from "./tool-input.js";

const commonIgnored: IgnoredTable = {
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
    ...toolEntries(bounds),
    output_config: outputField,
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
  return { schema, known: Object.keys(entries), ignored: messagesIgnored, cross } satisfies BodyFormat<typeof schema>;
}

export function countFormat(bounds: RequestBounds) {
  const entries = chatEntries(bounds);
  const schema = v.object(entries, "is required");
  return { schema, known: Object.keys(entries), ignored: commonIgnored, cross } satisfies BodyFormat<typeof schema>;
}

const cross = (body: Json): readonly Fault[] => [...toolCross(body)];

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

/** The answer continues a last message of the assistant, unless that message calls: then it is a turn after it. */
function chatInputOf(fields: ChatFields): ChatInput {
  const { messages, system, output_config: output } = fields;
  const last = messages.at(-1);
  const continueFinalMessage = last?.role === "assistant" && last.toolCalls === undefined;
  const effort = output?.effort ?? null;
  return {
    messages: system === undefined ? messages : [{ role: "system", content: system }, ...messages],
    template: {
      addGenerationPrompt: !continueFinalMessage,
      continueFinalMessage,
      kwargs: { ...thinkingVariables(fields), ...(effort === null ? {} : { reasoning_effort: effort }) },
    },
    tools: toolInputOf(fields),
  };
}
