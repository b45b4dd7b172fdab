/** The body of a response: an untrusted object in, what it asks for or every fault out. */
import * as v from "valibot";
import { isObject, type Json } from "../../base/json.js";
import type { GrammarSource } from "../../grammar/source.js";
import { customField, Wrong } from "../body/custom-field.js";
import { flag, integer, listOf } from "../body/field-kinds.js";
import { metadataField } from "../body/metadata-field.js";
import { type BodyFormat, type Fault, type IgnoredTable, invalid, parse } from "../body/parse.js";
import { efforts, templateEntries } from "../openai/chat-input.js";
import { samplingOf } from "../openai/common-request.js";
import { commonEntries } from "../openai/fields.js";
import { readTextFormat } from "../openai/grammar-fields.js";
import { commonIgnored } from "../openai/ignored-fields.js";
import { mostTokens, type RequestBounds } from "../options.js";
import type { ChatRequest } from "../requests.js";
import { itemIdOf, newResponseId } from "./ids.js";
import { type ItemReference, readItem, type SentItem } from "./item-input.js";
import { messagesOf } from "./item-messages.js";
import { type Item, idPrefixes } from "./items.js";
import { toolCross, toolEntries, toolInputOf } from "./tool-input.js";

/** What a response repeats of its request, and how it is written. */
export interface ResponseForm {
  readonly id: string;
  readonly instructions: string | null;
  readonly previousId: string | null;
  /** Items of earlier responses, then those of this request. */
  readonly items: readonly Item[];
  /** The number of this request's own. */
  readonly ownItems: number;
  readonly background: boolean;
  readonly store: boolean;
  readonly metadata: Readonly<Record<string, string>>;
  readonly maxOutputTokens: number | null;
  readonly format: unknown;
  readonly verbosity: string;
  readonly effort: string | null;
  readonly hasLogprobs: boolean;
  readonly topLogprobs: number;
  /** As they were sent. */
  readonly tools: readonly unknown[];
  readonly toolChoice: unknown;
  readonly parallelToolCalls: boolean;
  readonly user: string | null;
  readonly safetyIdentifier: string | null;
  readonly promptCacheKey: string | null;
}

/** A body that has been read; what it refers to is still to be found. */
export interface ParsedResponse {
  readonly input: readonly (SentItem | ItemReference)[];
  readonly previousId: string | null;
  readonly stream: boolean;
  /** The request over the items that `input` stands for, after those of earlier responses. */
  request(own: readonly SentItem[], earlier: readonly Item[]): ResponsesRequest;
}

export interface ResponsesRequest extends ChatRequest {
  readonly form: ResponseForm;
}

/** What `include` may name. All but the log-probabilities are of tools and items that no response here has. */
const includable = [
  "message.output_text.logprobs",
  "reasoning.encrypted_content",
  "file_search_call.results",
  "web_search_call.results",
  "web_search_call.action.sources",
  "message.input_image.image_url",
  "computer_call_output.output.image_url",
  "code_interpreter_call.outputs",
] as const;

/** The log-probabilities that `top_logprobs` may ask for as well. */
const outputLogprobs = includable[0];

const shortText = () => {
  const rule = "must be a string of up to 512 characters";
  return v.optional(v.pipe(v.string(rule), v.maxLength(512, rule)));
};

/** A text is one message of the user. */
function inputField(bounds: RequestBounds) {
  const rule = `must be a string or a list of 1 to ${bounds.maxMessages} items`;
  return v.pipe(
    v.unknown(),
    v.transform((input) => (typeof input === "string" ? [{ role: "user", content: input }] : input)),
    listOf(customField(readItem), 1, bounds.maxMessages, rule),
  );
}

function entriesOf(bounds: RequestBounds) {
  const common = commonEntries(bounds);
  const { chat_template_kwargs } = templateEntries(bounds);
  return {
    model: common.model,
    adapters: common.adapters,
    input: inputField(bounds),
    instructions: v.optional(v.string("must be a string")),
    previous_response_id: v.optional(v.string("must be the id of a response")),
    max_output_tokens: v.optional(integer(1, mostTokens(bounds))),
    text: v.optional(textField(), {}),
    reasoning: v.optional(reasoningField(), {}),
    include: v.optional(
      listOf(
        v.picklist(includable, `must be one of ${includable.join(", ")}`),
        0,
        includable.length,
        `must be a list of up to ${includable.length} names`,
      ),
      [],
    ),
    top_logprobs: v.optional(integer(0, bounds.maxLogprobs)),
    ...toolEntries(bounds),
    metadata: v.optional(metadataField(), {}),
    truncation: v.optional(v.picklist(["auto", "disabled"], 'must be "auto" or "disabled"'), "disabled"),
    background: v.optional(flag, false),
    store: v.optional(flag, true),
    stream: common.stream,
    stream_options: v.optional(
      v.strictObject({ include_obfuscation: v.nullish(flag) }, "must be an object of `include_obfuscation`"),
    ),
    user: shortText(),
    safety_identifier: shortText(),
    prompt_cache_key: shortText(),
    temperature: common.temperature,
    top_p: common.top_p,
    top_k: common.top_k,
    min_p: common.min_p,
    repetition_penalty: common.repetition_penalty,
    presence_penalty: common.presence_penalty,
    frequency_penalty: common.frequency_penalty,
    logit_bias: common.logit_bias,
    seed: common.seed,
    stop: common.stop,
    stop_token_ids: common.stop_token_ids,
    ignore_eos: common.ignore_eos,
    min_tokens: common.min_tokens,
    skip_special_tokens: common.skip_special_tokens,
    chat_template_kwargs,
  };
}

function textField() {
  const rule = "must be an object of `format` and `verbosity`";
  const verbosities = ["low", "medium", "high"] as const;
  return v.strictObject(
    {
      format: v.nullish(formatField()),
      verbosity: v.nullish(v.picklist(verbosities, `must be one of ${verbosities.join(", ")}`)),
    },
    rule,
  );
}

/** A format as it was sent, with its grammar. */
function formatField() {
  return customField((sent) => {
    const grammar = readTextFormat(sent);
    return grammar instanceof Wrong ? grammar : { sent, grammar };
  });
}

function reasoningField() {
  return v.strictObject(
    { effort: v.nullish(v.picklist(efforts, `must be one of ${efforts.join(", ")}`)) },
    "must be an object of `effort`",
  );
}

/** Parameters that change nothing, or change nothing at these values. */
const ignored: IgnoredTable = {
  max_tool_calls: { allowed: "a number", accepts: (value) => typeof value === "number" },
  service_tier: { allowed: "a string", accepts: (value) => typeof value === "string" },
  prompt_cache_options: { allowed: "an object", accepts: isObject },
  ...(commonIgnored.prompt_cache_retention ? { prompt_cache_retention: commonIgnored.prompt_cache_retention } : {}),
};

export function responsesFormat(bounds: RequestBounds) {
  const entries = entriesOf(bounds);
  const schema = v.object(entries, "is required");
  return { schema, known: Object.keys(entries), ignored, cross } satisfies BodyFormat<typeof schema>;
}

function* crossFaults(body: Json): Iterable<Fault> {
  if (body.stream_options !== undefined && body.stream !== true) {
    yield invalid("stream_options", "may be given only with `stream` true");
  }
  yield* toolCross(body);
  if (body.background === true && body.store === false) {
    yield invalid("background", "needs `store`: its result is retrieved later");
  }
  if (body.background === true && body.stream === true) {
    yield invalid("background", "and `stream` must not both be true");
  }
}

const cross = (body: Json): readonly Fault[] => [...crossFaults(body)];

/** Throws LorikeetError `invalid_value` or `unsupported_parameter` with every fault. */
export function parseResponse(format: ReturnType<typeof responsesFormat>, body: unknown): ParsedResponse {
  const fields = parse(format, body);
  return {
    input: fields.input,
    previousId: fields.previous_response_id ?? null,
    stream: fields.stream,
    request: (own, earlier) => requestOf(fields, own, earlier),
  };
}

type Fields = v.InferOutput<ReturnType<typeof responsesFormat>["schema"]>;

/** A client may send an id that another item has, as of an item that it repeats: that one gets an id of its own. */
function identified(items: readonly SentItem[], earlier: readonly Item[], responseId: string): readonly Item[] {
  const taken = new Set(earlier.map((item) => item.id));
  return items.map((item, index) => {
    const own = itemIdOf(responseId, index, idPrefixes[item.type]);
    const id = item.id === null || taken.has(item.id) ? own : item.id;
    taken.add(id);
    return { ...item, id };
  });
}

function requestOf(fields: Fields, own: readonly SentItem[], earlier: readonly Item[]): ResponsesRequest {
  const id = newResponseId();
  const items = [...earlier, ...identified(own, earlier, id)];
  const instructions = fields.instructions ?? null;
  const effort = fields.reasoning.effort ?? null;
  const hasLogprobs = fields.top_logprobs !== undefined || fields.include.includes(outputLogprobs);
  const system = instructions === null ? [] : [{ role: "system", content: instructions }];
  const grammar: GrammarSource | null = fields.text.format?.grammar ?? null;
  return {
    kind: "chat",
    params: { model: "model", prompt: "input", maxTokens: "max_output_tokens" },
    model: fields.model ?? null,
    adapters: fields.adapters,
    stream: fields.stream,
    messages: [...system, ...messagesOf(items)],
    template: {
      addGenerationPrompt: true,
      kwargs: { ...(effort === null ? {} : { reasoning_effort: effort }), ...fields.chat_template_kwargs },
    },
    tools: toolInputOf(fields),
    choices: 1,
    maxTokens: fields.max_output_tokens ?? null,
    shortensToFit: false,
    defaultMaxTokens: null,
    minTokens: fields.min_tokens,
    stops: fields.stop,
    stopTokenIds: fields.stop_token_ids,
    includesStop: false,
    ignoreEos: fields.ignore_eos,
    keepsSpecialTokens: !fields.skip_special_tokens,
    addsSpecialTokens: false,
    truncation: null,
    dropsOldestTurns: fields.truncation === "auto",
    promptLogprobs: null,
    returnTokenIds: false,
    grammar,
    logprobs: hasLogprobs ? (fields.top_logprobs ?? 0) : null,
    sampling: samplingOf(fields),
    form: {
      id,
      instructions,
      previousId: fields.previous_response_id ?? null,
      items,
      ownItems: own.length,
      background: fields.background,
      store: fields.store,
      metadata: fields.metadata,
      maxOutputTokens: fields.max_output_tokens ?? null,
      format: fields.text.format?.sent ?? { type: "text" },
      verbosity: fields.text.verbosity ?? "medium",
      effort,
      hasLogprobs,
      topLogprobs: fields.top_logprobs ?? 0,
      tools: fields.tools.sent,
      toolChoice: fields.tool_choice?.sent ?? "auto",
      parallelToolCalls: fields.parallel_tool_calls,
      user: fields.user ?? null,
      safetyIdentifier: fields.safety_identifier ?? null,
      promptCacheKey: fields.prompt_cache_key ?? null,
    },
  };
}
