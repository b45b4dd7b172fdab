/** How the model's chats write calls and reasoning: by its chat template, unless an option says so. */
import { LorikeetError } from "../base/errors.js";
import type { GrammarSource } from "../grammar/source.js";
import type { OutputOptions } from "../text/tools/chat-output.js";
import type { CallFormat } from "../text/tools/format.js";
import { callFormatNamed, detectCallFormat } from "../text/tools/formats/registry.js";
import {
  detectReasoningFormat,
  opensReasoning,
  type ReasoningFormat,
  reasoningFormatNamed,
} from "../text/tools/reasoning.js";
import { droppedByTemplate } from "../text/tools/template-support.js";
import { templateTool } from "../text/tools/types.js";
import type { RenderOptions, Tokenizer } from "../text/types.js";
import { chatGrammar, holdsCalls } from "./chat-grammar.js";
import type { ChatInput, GenerationRequest, Prompt } from "./requests.js";

export interface ChatFormats {
  /** null: the template's format is not known. */
  readonly calls: CallFormat | null;
  readonly reasoning: ReasoningFormat | null;
}

export interface ChatFormatOptions {
  /** `auto`, or a format's name. */
  readonly toolCallParser: string;
  /** `auto`, `none`, or a format's name. */
  readonly reasoningParser: string;
}

const noFormats: ChatFormats = { calls: null, reasoning: null };

export function chatFormatsOf(tokenizer: Tokenizer | null, options: ChatFormatOptions): ChatFormats {
  const template = tokenizer?.chatTemplate ?? null;
  if (template === null) return noFormats;
  const { toolCallParser, reasoningParser } = options;
  return {
    calls:
      toolCallParser === "auto"
        ? detectCallFormat(tokenizer?.toolTemplate ?? template)
        : callFormatNamed(toolCallParser),
    reasoning: reasoningParser === "auto" ? detectReasoningFormat(template) : reasoningFormatNamed(reasoningParser),
  };
}

/** Special tokens that calls and reasoning are spelled with. */
export function markersOf({ calls, reasoning }: ChatFormats): ReadonlySet<string> {
  return new Set([...(calls?.markers ?? []), ...(reasoning ? [reasoning.begin, reasoning.end] : [])]);
}

/** What the template renders: the tools, unless the answer may not call. */
export function renderOptionsOf({ template, tools }: ChatInput): RenderOptions {
  return tools === null || tools.choice.kind === "none"
    ? template
    : { ...template, tools: tools.tools.map(templateTool) };
}

/** Throws LorikeetError `unsupported_parameter` for what the model's template would drop without a word. */
export function requireToolSupport({ messages, tools }: ChatInput, tokenizer: Tokenizer, { calls }: ChatFormats): void {
  const template = tokenizer.toolTemplate ?? tokenizer.chatTemplate ?? "";
  const hasTools = tools !== null && tools.choice.kind !== "none";
  const dropped = droppedByTemplate(template, hasTools, messages);
  if (dropped !== null) {
    const message = `The model's chat template ${dropped.reason}; --chat-template <file> sets another one.`;
    throw new LorikeetError("unsupported_parameter", message, { param: dropped.what });
  }
  if (hasTools && calls === null) {
    const message = "The format of the chat template's calls is not known; set it with --tool-call-parser.";
    throw new LorikeetError("unsupported_parameter", message, { param: "tools" });
  }
}

/** What a chat's prompt means for its answer. */
export interface AnswerForm {
  /** How the answer is split; null: all of it is text. */
  readonly output: OutputOptions | null;
  /** null: none. */
  readonly grammar: GrammarSource | null;
}

/** Throws LorikeetError `invalid_value` for calls that cannot be held to their schemas. */
export function answerFormOf(
  request: GenerationRequest,
  prompt: Prompt | undefined,
  tokenizer: Tokenizer | null,
  { calls, reasoning }: ChatFormats,
): AnswerForm {
  if (request.kind !== "chat") return { output: null, grammar: request.grammar };
  const { tools, template, messages } = request;
  const text = prompt?.kind === "text" ? prompt.text : "";
  const continued = template.continueFinalMessage === true ? (messages.at(-1)?.content ?? "") : null;
  const isOpen = reasoning !== null && opensReasoning(reasoning, text, continued);
  const isClosed = reasoning !== null && (continued !== null || text.trimEnd().endsWith(reasoning.end));
  const grammar = chatGrammar(request, {
    calls,
    reasoning,
    template: tokenizer?.toolTemplate ?? tokenizer?.chatTemplate ?? "",
    reasoningState: isOpen ? "open" : isClosed ? "closed" : "neither",
  });
  const mayCall = calls !== null && tools !== null && tools.choice.kind !== "none";
  if (!mayCall && reasoning === null) return { output: null, grammar };
  const output: OutputOptions = {
    calls: mayCall
      ? {
          format: calls,
          tools: tools.tools,
          parallel: tools.parallel && tools.choice.kind !== "function",
          // A stop string may cut a call that is not forced.
          isHeld: holdsCalls(request) && !(tools.choice.kind === "auto" && request.stops.length > 0),
          isForced: tools.choice.kind !== "auto",
        }
      : null,
    reasoning: reasoning && { format: reasoning, isOpen },
  };
  return { output, grammar };
}
