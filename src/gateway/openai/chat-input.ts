/** The body of a chat: an untrusted object in, a ChatRequest or every fault out. */
import * as v from "valibot";
import type { Json } from "../../base/json.js";
import { customField } from "../body/custom-field.js";
import { flag, integer, listOf, objectField } from "../body/field-kinds.js";
import { type BodyFormat, type Fault, Found, invalid, parse } from "../body/parse.js";
import type { RequestBounds } from "../options.js";
import type { ChatInput, ChatRequest } from "../requests.js";
import { type AnswerForm, commonOf } from "./common-request.js";
import { commonCross, commonEntries } from "./fields.js";
import { chatIgnored } from "./ignored-fields.js";
import { readMessage, withToolNames } from "./message-input.js";
import { toolCross, toolEntries, toolInputOf } from "./tool-input.js";

/** Efforts that OpenAI and vLLM know; a template may read it. */
export const efforts = ["none", "minimal", "low", "medium", "high", "xhigh"] as const;
/** Template variables with their own parameters, and those that requests may not set. */
const ownNames = [
  "messages",
  "tools",
  "documents",
  "add_generation_prompt",
  "continue_final_message",
  "chat_template",
  "tokenize",
];

/** Entries of a schema for a chat and how its template renders it. */
export function templateEntries(bounds: RequestBounds) {
  const rule = `must be a list of 1 to ${bounds.maxMessages} messages`;
  return {
    messages: listOf(
      customField((value) => readMessage(value, bounds.maxTools)),
      1,
      bounds.maxMessages,
      rule,
    ),
    ...toolEntries(bounds),
    add_generation_prompt: v.optional(flag),
    continue_final_message: v.optional(flag, false),
    chat_template_kwargs: v.optional(kwargsField(), {}),
    reasoning_effort: v.optional(v.picklist(efforts, `must be one of ${efforts.join(", ")}`)),
  };
}

function kwargsField() {
  const rule = "must be an object of variables for the chat template";
  return v.pipe(
    objectField(rule),
    v.rawTransform(({ dataset, addIssue, NEVER }) => {
      const taken = ownNames.find((name) => Object.hasOwn(dataset.value, name));
      if (taken === undefined) return dataset.value;
      addIssue({ message: `must not set \`${taken}\``, input: new Found(`\`${taken}\``) });
      return NEVER;
    }),
  );
}

type TemplateFields = v.InferOutput<v.ObjectSchema<ReturnType<typeof templateEntries>, undefined>>;

/** A message that is continued has no prompt for another after it. */
export function chatInputOf(fields: TemplateFields): ChatInput {
  const { messages, reasoning_effort: effort, continue_final_message: continueFinalMessage } = fields;
  const kwargs =
    effort === undefined ? fields.chat_template_kwargs : { reasoning_effort: effort, ...fields.chat_template_kwargs };
  const addGenerationPrompt = fields.add_generation_prompt ?? !continueFinalMessage;
  return {
    messages: withToolNames(messages),
    template: { addGenerationPrompt, continueFinalMessage, kwargs },
    tools: toolInputOf(fields),
  };
}

export function* templateCross(body: Json): Iterable<Fault> {
  if (body.continue_final_message === true && body.add_generation_prompt === true) {
    yield invalid("continue_final_message", "and `add_generation_prompt` must not both be true");
  }
  yield* toolCross(body);
}

export function chatFormat(bounds: RequestBounds) {
  const entries = {
    ...commonEntries(bounds),
    ...templateEntries(bounds),
    logprobs: v.optional(flag, false),
    top_logprobs: v.optional(integer(0, bounds.maxLogprobs)),
  };
  const schema = v.object(entries, "is required");
  return { schema, known: Object.keys(entries), ignored: chatIgnored, cross } satisfies BodyFormat<typeof schema>;
}

/** Throws LorikeetError `invalid_value` or `unsupported_parameter` with every fault. */
export function parseChat(format: ReturnType<typeof chatFormat>, body: unknown): ChatRequest & AnswerForm {
  const fields = parse(format, body);
  return {
    kind: "chat",
    ...commonOf(fields),
    ...chatInputOf(fields),
    defaultMaxTokens: null,
    addsSpecialTokens: fields.add_special_tokens ?? false,
    logprobs: fields.logprobs ? (fields.top_logprobs ?? 0) : null,
  };
}

function* crossFaults(body: Json): Iterable<Fault> {
  yield* commonCross(body);
  yield* templateCross(body);
  const name = body.max_completion_tokens === 0 ? "max_completion_tokens" : "max_tokens";
  if (body[name] === 0) yield invalid(name, "must be at least 1 in a chat");
  if (typeof body.top_logprobs === "number" && body.logprobs !== true) {
    yield invalid("top_logprobs", "may be given only with `logprobs` true");
  }
}

const cross = (body: Json): readonly Fault[] => [...crossFaults(body)];
