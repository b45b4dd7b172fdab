/** Answers in Anthropic's form: the events of a stream, in their order, and whole messages. */
import { randomUUID } from "node:crypto";
import { assert } from "../../base/errors.js";
import type { Answer } from "../answer.js";
import type { RequestSummary } from "../observer.js";
import type { ChoicePart, Usage } from "../parts.js";
import type { ChatRequest } from "../requests.js";
import { type BlockDelta, type ContentBlock, emptyCall, emptyText, emptyThinking, wholeBlock } from "./blocks.js";

type StopReason = "end_turn" | "max_tokens" | "stop_sequence" | "tool_use" | "model_context_window_exceeded";

/** Tokens read from a cache are not counted as input, as in Anthropic's API. */
export interface UsageCounts {
  readonly input_tokens: number;
  readonly cache_creation_input_tokens: number;
  readonly cache_read_input_tokens: number;
  readonly output_tokens: number;
  readonly output_tokens_details: { readonly thinking_tokens: number } | null;
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
  readonly content: readonly ContentBlock[];
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
  | { readonly type: "content_block_start"; readonly index: number; readonly content_block: ContentBlock }
  | { readonly type: "ping" }
  | { readonly type: "content_block_delta"; readonly index: number; readonly delta: BlockDelta }
  | { readonly type: "content_block_stop"; readonly index: number }
  | { readonly type: "message_delta"; readonly delta: Stop; readonly usage: UsageCounts }
  | { readonly type: "message_stop" };

/** The open block: what it holds, its first value and its place. */
interface OpenBlock {
  readonly key: string;
  readonly block: ContentBlock;
  readonly index: number;
}

/** Writes one answer. */
export class MessageWriter {
  readonly #request: ChatRequest;
  readonly #model: string;
  readonly #id = `msg_${randomUUID().replaceAll("-", "")}`;
  #open: OpenBlock | null = null;
  #blocks = 0;

  constructor({ request, model }: Pick<Answer<ChatRequest>, "request" | "model">) {
    this.#request = request;
    this.#model = model;
  }

  /** The events of the next part. The first part begins the message, and the last ends its block. */
  *read(part: ChoicePart): Generator<MessageEvent, void, undefined> {
    if (part.isFirst) yield { type: "message_start", message: this.#message([], running, part.usage) };
    if (part.reasoning !== "") {
      yield* this.#write("thinking", emptyThinking, { type: "thinking_delta", thinking: part.reasoning });
    }
    if (part.text !== "") yield* this.#write("text", emptyText, { type: "text_delta", text: part.text });
    for (const { index, begin, arguments: json } of part.calls) {
      const block = begin ? emptyCall(begin.id, begin.name) : null;
      yield* this.#write(`call ${index}`, block, { type: "input_json_delta", partial_json: json });
    }
    if (part.finish !== null) yield* this.#close();
  }

  /** The events after the last part. */
  *end(last: ChoicePart, summary: RequestSummary): Generator<MessageEvent, void, undefined> {
    yield { type: "message_delta", delta: this.#stopOf(last), usage: countsOf(usageOf(summary)) };
    yield { type: "message_stop" };
  }

  /** The message whose events `read` has given. */
  whole(events: readonly MessageEvent[], last: ChoicePart, summary: RequestSummary): Message {
    return this.#message(blocksOf(events), this.#stopOf(last), usageOf(summary));
  }

  /** Adds to the open block, or ends it and begins `block` if it holds something else. A later delta of a call has no block. */
  *#write(key: string, block: ContentBlock | null, delta: BlockDelta): Generator<MessageEvent, void, undefined> {
    if (this.#open?.key !== key) {
      yield* this.#close();
      assert(block, "the first delta of a call says what it calls");
      const index = this.#blocks++;
      this.#open = { key, block, index };
      yield { type: "content_block_start", index, content_block: block };
      if (index === 0) yield { type: "ping" };
    }
    yield { type: "content_block_delta", index: this.#open.index, delta };
  }

  *#close(): Generator<MessageEvent, void, undefined> {
    if (this.#open) yield { type: "content_block_stop", index: this.#open.index };
    this.#open = null;
  }

  #message(content: readonly ContentBlock[], stop: Stop, usage: Usage): Message {
    return {
      id: this.#id,
      type: "message",
      role: "assistant",
      model: this.#model,
      content,
      ...stop,
      diagnostics: null,
      usage: { ...countsOf(usage), cache_creation: null, inference_geo: null, service_tier: "standard", speed: null },
    };
  }

  #stopOf({ finish, stopString, usage }: ChoicePart): Stop {
    if (finish === "tool_calls") return { ...running, stop_reason: "tool_use" };
    if (finish !== "length") {
      return { ...running, stop_reason: stopString === null ? "end_turn" : "stop_sequence", stop_sequence: stopString };
    }
    const isFull = usage.completionTokens < (this.#request.maxTokens ?? Number.POSITIVE_INFINITY);
    return { ...running, stop_reason: isFull ? "model_context_window_exceeded" : "max_tokens" };
  }
}

const running: Stop = { stop_reason: null, stop_sequence: null, stop_details: null, container: null };

/** The whole blocks of a message's events. */
function blocksOf(events: readonly MessageEvent[]): ContentBlock[] {
  const blocks: { readonly block: ContentBlock; readonly deltas: BlockDelta[] }[] = [];
  for (const event of events) {
    if (event.type === "content_block_start") blocks.push({ block: event.content_block, deltas: [] });
    else if (event.type === "content_block_delta") blocks.at(-1)?.deltas.push(event.delta);
  }
  return blocks.map(({ block, deltas }) => wholeBlock(block, deltas));
}

/** Of an answer that has ended without a fault. */
function usageOf({ usage }: RequestSummary): Usage {
  assert(usage, "an answer that was generated has its tokens counted");
  return usage;
}

function countsOf({ promptTokens, completionTokens, reasoningTokens, cachedTokens }: Usage): UsageCounts {
  return {
    input_tokens: promptTokens - cachedTokens,
    cache_creation_input_tokens: 0,
    cache_read_input_tokens: cachedTokens,
    output_tokens: completionTokens,
    output_tokens_details: reasoningTokens > 0 ? { thinking_tokens: reasoningTokens } : null,
    server_tool_use: null,
  };
}
