/** The body of a chat: an untrusted object in, a ChatRequest or every fault out. */
import * as v from "valibot";
import { isObject, type Json } from "../../base/json.js";
import type { ChatMessage } from "../../text/types.js";
import { flag, integer, listOf, objectField } from "../body/field-kinds.js";
import { type BodyFormat, describe, describeWord, type Fault, Found, invalid, parse, shorten } from "../body/parse.js";
import type { RequestBounds } from "../options.js";
import type { ChatInput, ChatRequest } from "../requests.js";
import { type AnswerForm, commonOf } from "./common-request.js";
import { commonCross, commonEntries } from "./fields.js";
import { chatIgnored } from "./ignored-fields.js";

const roles = ["system", "developer", "user", "assistant"];
/** Parts of an assistant's earlier answer that clients send back and that are empty here. */
const emptyExtras = ["tool_calls", "annotations", "refusal", "audio", "function_call"];

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
    messages: listOf(messageField(), 1, bounds.maxMessages, rule),
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
  return { messages, template: { addGenerationPrompt, continueFinalMessage, kwargs } };
}

export function* templateCross(body: Json): Iterable<Fault> {
  if (body.continue_final_message === true && body.add_generation_prompt === true) {
    yield invalid("continue_final_message", "and `add_generation_prompt` must not both be true");
  }
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

/** A schema for one message; its faults carry the place inside the message in their words. */
function messageField() {
  return v.pipe(
    v.unknown(),
    v.rawTransform<unknown, ChatMessage>(({ dataset, addIssue, NEVER }) => {
      const message = readMessage(dataset.value);
      if (!("rule" in message)) return message;
      addIssue({ message: message.rule, input: new Found(message.found) });
      return NEVER;
    }),
  );
}

/** The rule that a message breaks, and what was found. */
interface MessageFault {
  readonly rule: string;
  readonly found: string;
}

function readMessage(value: unknown): ChatMessage | MessageFault {
  if (!isObject(value)) return { rule: "must be an object with `role` and `content`", found: describe(value) };
  const { role, content, name, ...rest } = value;
  if (typeof role !== "string" || !roles.includes(role)) {
    return { rule: `must have a \`role\` out of ${roles.join(", ")}`, found: `${describeWord(role)} as \`role\`` };
  }
  for (const [key, extra] of Object.entries(rest)) {
    const isEmpty = extra === null || (Array.isArray(extra) && extra.length === 0);
    if (isEmpty && emptyExtras.includes(key)) continue;
    return { rule: `has the field \`${shorten(key)}\`, which is not supported`, found: describe(extra) };
  }
  if (name !== undefined && name !== null && typeof name !== "string") {
    return { rule: "must have a string as `name`", found: `${describe(name)} as \`name\`` };
  }
  const text = readContent(content);
  if (typeof text !== "string") return text;
  const base = { role: role === "developer" ? "system" : role, content: text };
  return typeof name === "string" ? { ...base, name } : base;
}

function readContent(content: unknown): string | MessageFault {
  const rule = 'must have a `content` that is a string or a list of {"type":"text","text":"..."} parts';
  if (typeof content === "string") return content;
  if (!Array.isArray(content) || content.length === 0) return { rule, found: `${describe(content)} as \`content\`` };
  const texts: string[] = [];
  for (const [index, part] of content.entries()) {
    const fault = partFault(part);
    if (fault !== null) return { rule, found: `${fault} at \`content[${index}]\`` };
    texts.push(part.text);
  }
  return texts.join("\n");
}

/** What was found instead of a text part. */
function partFault(part: unknown): string | null {
  if (!isObject(part)) return describe(part);
  if (part.type !== "text") return `${describeWord(part.type)} as \`type\``;
  return typeof part.text === "string" ? null : `${describe(part.text)} as \`text\``;
}
