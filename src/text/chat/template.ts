/** Chat templates: finds a model's template and renders messages with it. Nothing else imports the template engine. */

import { basename } from "node:path";
import { LorikeetError } from "../../base/errors.js";
import type { Json } from "../../base/json.js";
import { defaultRenderLimits, type RenderLimits } from "../jinja/budget.js";
import { RaisedFault, TemplateFault } from "../jinja/faults.js";
import { Program } from "../jinja/program.js";
import { asRecord, asString, describe, readIfThere } from "../json.js";
import type { ToolCall } from "../tools/types.js";
import type { ChatMessage, RenderOptions } from "../types.js";
import { continueFinalMessage } from "./continue.js";

/** A template's text and its file. */
export interface TemplateSource {
  readonly text: string;
  /** The text of the template for chats with tools; null: the same. */
  readonly toolText?: string | null;
  readonly origin: string;
}

/** Renders a chat. The flag is separate because most calls need nothing else. */
export type RenderChat = (
  messages: readonly ChatMessage[],
  addGenerationPrompt: boolean,
  options?: Omit<RenderOptions, "addGenerationPrompt">,
) => string;

/** Keeps a byte order mark, as Python does. */
const utf8 = (bytes: Uint8Array): string => new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);

/**
 * The override if one is given, else chat_template.jinja, else `chat_template` of tokenizer_config.json (a string, or a list of
 * named templates, from which `default` is used); null if there is none.
 * @throws LorikeetError `invalid_config` if the override cannot be read, `model_invalid` if the model's template is malformed.
 */
export async function findTemplate(
  directory: string,
  config: Json,
  override: string | undefined,
): Promise<TemplateSource | null> {
  if (override !== undefined) {
    const bytes = await readIfThere(override).catch((cause: unknown) => unreadable(override, cause));
    return bytes ? { text: utf8(bytes), origin: override } : unreadable(override, null);
  }
  const path = `${directory}/chat_template.jinja`;
  const bytes = await readIfThere(path);
  if (bytes) {
    const forTools = await readIfThere(`${directory}/additional_chat_templates/tool_use.jinja`);
    return { text: utf8(bytes), toolText: forTools && utf8(forTools), origin: path };
  }
  const text = ownTemplate(config.chat_template);
  if (text === null) return null;
  return {
    text,
    toolText: namedTemplate(config.chat_template, "tool_use"),
    origin: `${directory}/tokenizer_config.json`,
  };
}

/** The text of one of several named templates; null if there is none. */
function namedTemplate(value: unknown, name: string): string | null {
  const rows = Array.isArray(value) ? value.map(asRecord) : [asRecord(value)];
  return asString(rows.find((row) => row?.name === name)?.template);
}

function unreadable(path: string, cause: unknown): never {
  const reason = cause instanceof Error ? cause.message : "there is no such file.";
  throw new LorikeetError("invalid_config", `The chat template ${path} cannot be read: ${reason}`, {
    param: "--chat-template",
    found: path,
    cause,
  });
}

function ownTemplate(value: unknown): string | null {
  if (value === undefined || value === null) return null;
  if (typeof value === "string") return value;
  const text = namedTemplate(value, "default");
  if (text !== null) return text;
  const rows = Array.isArray(value) ? value.map(asRecord) : [asRecord(value)];
  const names = rows.map((row) => asString(row?.name) ?? describe(row));
  throw new LorikeetError(
    "model_invalid",
    `chat_template in tokenizer_config.json must be a string or a list with a template named "default"; found ${names.join(", ")}. Use --chat-template <file> to set another one.`,
    { param: "chat_template", found: names, allowed: ["default"] },
  );
}

/**
 * Compiles a template. `variables` are the special tokens by name. The renderer throws LorikeetError `invalid_value` with the
 * template's message if it refuses the messages, `chat_template_limit` beyond the limits, and `model_unsupported` for any other
 * error. Clients see these messages: they name the template's file, never its folder.
 * @throws LorikeetError `model_unsupported` if the template cannot be parsed.
 */
export function compileTemplate(
  source: TemplateSource,
  variables: ReadonlyMap<string, string>,
  limits: RenderLimits = defaultRenderLimits,
): RenderChat {
  const file = basename(source.origin);
  const fail = (what: string, cause: unknown): never => {
    const reason = cause instanceof Error ? cause.message : String(cause);
    const message = `The chat template ${file} cannot be ${what}: ${reason}. Use --chat-template <file> to set another one.`;
    throw new LorikeetError("model_unsupported", message, { param: "--chat-template", found: file, cause });
  };
  const compile = (text: string): Program =>
    attempt(
      () => new Program(text),
      (cause) => fail("parsed", cause),
    );
  const plain = compile(source.text);
  const { toolText = null } = source;
  const forTools = toolText === null ? plain : compile(toolText);
  const render: RenderChat = (messages, addGenerationPrompt, options = {}) => {
    const program = options.tools && options.tools.length > 0 ? forTools : plain;
    const values = {
      ...Object.fromEntries(variables),
      ...options.kwargs,
      messages: messages.map(templateMessage),
      tools: options.tools ?? null,
      documents: options.documents ?? null,
      add_generation_prompt: addGenerationPrompt,
    };
    return attempt(
      () => program.render(values, limits),
      (cause) => refuse(cause, limits) ?? fail("rendered", cause),
    );
  };
  return (messages, addGenerationPrompt, options = {}) =>
    options.continueFinalMessage
      ? continueFinalMessage(messages, (marked) => render(marked, addGenerationPrompt, options))
      : render(messages, addGenerationPrompt, options);
}

/** A message as templates read it, in the form of transformers: OpenAI's, but with the arguments of calls as objects. */
function templateMessage({ role, content, name, reasoning, toolCalls, toolCallId }: ChatMessage): object {
  return {
    role,
    content,
    ...(name === undefined ? {} : { name }),
    ...(reasoning === undefined ? {} : { reasoning_content: reasoning }),
    ...(toolCalls === undefined ? {} : { tool_calls: toolCalls.map(templateCall) }),
    ...(toolCallId === undefined ? {} : { tool_call_id: toolCallId }),
  };
}

const templateCall = (call: ToolCall): object => ({
  id: call.id,
  type: "function",
  function: { name: call.name, arguments: JSON.parse(call.arguments) },
});

/** Throws if the messages caused the error; returns null if the template did. */
function refuse(cause: unknown, { maxSteps }: RenderLimits): null {
  if (cause instanceof RaisedFault) {
    const message = `The chat template refused the messages: ${cause.message}`;
    throw new LorikeetError("invalid_value", message, { param: "messages", cause });
  }
  if (!(cause instanceof TemplateFault) || cause.kind !== "LimitError") return null;
  throw new LorikeetError(
    "chat_template_limit",
    `The chat template cannot render these messages: ${cause.message}. --max-template-steps sets the number of steps.`,
    { param: "messages", allowed: maxSteps, cause },
  );
}

function attempt<T>(task: () => T, otherwise: (cause: unknown) => never): T {
  try {
    return task();
  } catch (cause) {
    return otherwise(cause);
  }
}
