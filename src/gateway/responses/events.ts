/** Writes one response as the events of a stream, in OpenAI's order. The last event holds the whole response. */
import { assert } from "../../base/errors.js";
import type { Tokenizer } from "../../text/types.js";
import type { TokenPiece } from "../assembler.js";
import type { PublicFault } from "../fault.js";
import type { RequestSummary } from "../observer.js";
import { chatLogprobs, spellerOf } from "../openai/logprobs.js";
import type { ChoicePart } from "../parts.js";
import { itemIdOf } from "./ids.js";
import type { ResponsesRequest } from "./input.js";
import { type OutputMessage, outputText } from "./items.js";
import { endedResponse, failedResponse, type ResponseObject } from "./response.js";

export interface ResponseEvent {
  readonly type: string;
  readonly sequence_number: number;
  /** In events about the response as a whole. */
  readonly response?: ResponseObject;
}

export interface WholeEvent extends ResponseEvent {
  readonly response: ResponseObject;
}

/** The message that is being written. */
interface OpenMessage {
  readonly id: string;
  readonly index: number;
  text: string;
  readonly pieces: TokenPiece[];
}

export class ResponseEvents {
  readonly #request: ResponsesRequest;
  readonly #tokenizer: Tokenizer | null;
  readonly #response: ResponseObject;
  #sequence = 0;
  #message: OpenMessage | null = null;
  #isCut = false;

  /** `response` is in progress. */
  constructor(response: ResponseObject, request: ResponsesRequest, tokenizer: Tokenizer | null) {
    this.#response = response;
    this.#request = request;
    this.#tokenizer = tokenizer;
  }

  *begin(): Generator<ResponseEvent, void, undefined> {
    yield this.#whole("response.created", this.#response);
    yield this.#whole("response.in_progress", this.#response);
  }

  *take(part: ChoicePart): Generator<ResponseEvent, void, undefined> {
    this.#isCut = part.finish === "length";
    if (part.text === "" && (part.tokens.length === 0 || !this.#request.form.hasLogprobs)) return;
    const message = this.#message ?? (yield* this.#open());
    message.text += part.text;
    if (this.#request.form.hasLogprobs) message.pieces.push(...part.tokens);
    const logprobs = this.#logprobs(part.tokens);
    yield this.#event("response.output_text.delta", { ...placeOf(message), delta: part.text, logprobs });
  }

  /** The end of an answer without a fault. An answer without text has an empty message. */
  *end(summary: RequestSummary): Generator<ResponseEvent, WholeEvent, undefined> {
    const message = this.#message ?? (yield* this.#open());
    const { text } = message;
    const place = placeOf(message);
    const item = this.#item(message, this.#isCut ? "incomplete" : "completed");
    const [part] = item.content;
    assert(part, "a message has its text");
    yield this.#event("response.output_text.done", { ...place, text, logprobs: part.logprobs });
    yield this.#event("response.content_part.done", { ...place, part });
    yield this.#event("response.output_item.done", { output_index: message.index, item });
    const response = endedResponse(this.#response, [item], this.#isCut, summary);
    const last = this.#whole(this.#isCut ? "response.incomplete" : "response.completed", response);
    yield last;
    return last;
  }

  /** The one event after a fault. */
  fail(fault: PublicFault): WholeEvent {
    return this.#whole("response.failed", failedResponse(this.#response, this.#soFar(), fault));
  }

  /** The response of an answer that was cancelled. */
  cancelled(): ResponseObject {
    return { ...this.#response, status: "cancelled", output: this.#soFar() };
  }

  #soFar(): OutputMessage[] {
    return this.#message === null ? [] : [this.#item(this.#message, "incomplete")];
  }

  *#open(): Generator<ResponseEvent, OpenMessage, undefined> {
    const { id, ownItems } = this.#request.form;
    const message: OpenMessage = { id: itemIdOf(id, ownItems), index: 0, text: "", pieces: [] };
    this.#message = message;
    const item: OutputMessage = { ...this.#item(message, "in_progress"), content: [] };
    yield this.#event("response.output_item.added", { output_index: message.index, item });
    yield this.#event("response.content_part.added", { ...placeOf(message), part: outputText("") });
    return message;
  }

  #item({ id, text, pieces }: OpenMessage, status: OutputMessage["status"]): OutputMessage {
    const content = [{ ...outputText(text), logprobs: this.#logprobs(pieces) }];
    return { id, type: "message", status, role: "assistant", content };
  }

  #logprobs(pieces: readonly TokenPiece[]): Iterable<unknown> {
    if (!this.#request.form.hasLogprobs) return [];
    return chatLogprobs(spellerOf(this.#tokenizer, false), this.#tokenizer, pieces).content;
  }

  #event<Fields extends object>(type: string, fields: Fields): ResponseEvent & Fields {
    return { type, sequence_number: this.#sequence++, ...fields };
  }

  #whole(type: string, response: ResponseObject): WholeEvent {
    return this.#event(type, { response });
  }
}

const placeOf = ({ id, index }: OpenMessage) => ({ item_id: id, output_index: index, content_index: 0 });
