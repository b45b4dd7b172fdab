/** Answers in Anthropic's form: the events of a stream, in their order, and whole messages. */
import { randomUUID } from "node:crypto";
import { assert } from "../../base/errors.js";
import type { Answer } from "../answer.js";
import type { RequestSummary } from "../observer.js";
import type { ChoicePart, Usage } from "../parts.js";
import type { ChatRequest } from "../requests.js";

type StopReason = "end_turn" | "max_tokens" | "stop_sequence" | "model_context_window_exceeded";

interface TextBlock {
  readonly type: "text";
  readonly text: string;
  readonly citations: null;
}

/** Tokens read from a cache are not counted as input, as in Anthropic's API. */
export interface UsageCounts {
  readonly input_tokens: number;
  readonly cache_creation_input_tokens: number;
  readonly cache_read_input_tokens: number;
  readonly output_tokens: number;
  readonly output_tokens_details: null;
  readonly server_tool_use: null;
}

interface Stop {
  readonly stop_reason: StopReason | null;
  readonly stop_sequence: string | null;
  readonly stop_details: null;
  readonly container: null;
}

export interface Message extends Stop {
  readonly id: string;
  readonly type: "message";
  readonly role: "assistant";
  readonly model: string;
  readonly content: readonly TextBlock[];
  readonly diagnostics: null;
  readonly usage: UsageCounts & {
    readonly cache_creation: null;
    readonly inference_geo: null;
    readonly service_tier: "standard";
    readonly speed: null;
  };
}

export type MessageEvent =
  | { readonly type: "message_start"; readonly message: Message }
  | { readonly type: "content_block_start"; readonly index: number; readonly content_block: TextBlock }
  | { readonly type: "ping" }
  | { readonly type: "content_block_delta"; readonly index: number; readonly delta: TextDelta }
  | { readonly type: "content_block_stop"; readonly index: number }
  | { readonly type: "message_delta"; readonly delta: Stop; readonly usage: UsageCounts }
  | { readonly type: "message_stop" };

interface TextDelta {
  readonly type: "text_delta";
  readonly text: string;
}

/** Writes one answer. */
export class MessageWriter {
  readonly #request: ChatRequest;
  readonly #model: string;
  readonly #id = `msg_${randomUUID().replaceAll("-", "")}`;
  /** The index of the open block. */
  #open: number | null = null;

  constructor({ request, model }: Pick<Answer<ChatRequest>, "request" | "model">) {
    this.#request = request;
    this.#model = model;
  }

  /** The events of the next part. The first part begins the message, and the last ends its block. */
  *read(part: ChoicePart): Generator<MessageEvent, void, undefined> {
    if (part.isFirst) yield { type: "message_start", message: this.#message("", running, part.usage) };
    if (part.text !== "") yield* this.#text(part.text);
    if (part.finish === null || this.#open === null) return;
    yield { type: "content_block_stop", index: this.#open };
    this.#open = null;
  }

  /** The events after the last part. */
  *end(last: ChoicePart, summary: RequestSummary): Generator<MessageEvent, void, undefined> {
    yield { type: "message_delta", delta: this.#stopOf(last), usage: countsOf(usageOf(summary)) };
    yield { type: "message_stop" };
  }

  whole(choice: ChoicePart, summary: RequestSummary): Message {
    return this.#message(choice.text, this.#stopOf(choice), usageOf(summary));
  }

  *#text(text: string): Generator<MessageEvent, void, undefined> {
    if (this.#open === null) {
      this.#open = 0;
      yield { type: "content_block_start", index: this.#open, content_block: textBlock("") };
      yield { type: "ping" };
    }
    yield { type: "content_block_delta", index: this.#open, delta: { type: "text_delta", text } };
  }

  #message(text: string, stop: Stop, usage: Usage): Message {
    return {
      id: this.#id,
      type: "message",
      role: "assistant",
      model: this.#model,
      content: text === "" ? [] : [textBlock(text)],
      ...stop,
      diagnostics: null,
      usage: { ...countsOf(usage), cache_creation: null, inference_geo: null, service_tier: "standard", speed: null },
    };
  }

  #stopOf({ finish, stopString, usage }: ChoicePart): Stop {
    if (finish !== "length") {
      return { ...running, stop_reason: stopString === null ? "end_turn" : "stop_sequence", stop_sequence: stopString };
    }
    const isFull = usage.completionTokens < (this.#request.maxTokens ?? Number.POSITIVE_INFINITY);
    return { ...running, stop_reason: isFull ? "model_context_window_exceeded" : "max_tokens" };
  }
}

const running: Stop = { stop_reason: null, stop_sequence: null, stop_details: null, container: null };

const textBlock = (text: string): TextBlock => ({ type: "text", text, citations: null });

/** Of an answer that has ended without a fault. */
function usageOf({ usage }: RequestSummary): Usage {
  assert(usage, "an answer that was generated has its tokens counted");
  return usage;
}

function countsOf({ promptTokens, completionTokens, cachedTokens }: Usage): UsageCounts {
  return {
    input_tokens: promptTokens - cachedTokens,
    cache_creation_input_tokens: 0,
    cache_read_input_tokens: cachedTokens,
    output_tokens: completionTokens,
    output_tokens_details: null,
    server_tool_use: null,
  };
}
