/** Writes one response as the events of a stream, in OpenAI's order. The last event holds the whole response. */
import type { CallDelta } from "../../text/tools/types.js";
import type { Tokenizer } from "../../text/types.js";
import type { PublicFault } from "../fault.js";
import type { RequestSummary } from "../observer.js";
import { chatLogprobs, spellerOf } from "../openai/logprobs.js";
import type { ChoicePart } from "../parts.js";
import { itemIdOf } from "./ids.js";
import type { ResponsesRequest } from "./input.js";
import type { ItemStatus, OutputItem } from "./items.js";
import {
  type EventBody,
  type LogprobsOf,
  OpenCall,
  type OpenItem,
  OpenMessage,
  OpenReasoning,
  type Place,
} from "./open-item.js";
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

type Events<Result = void> = Generator<ResponseEvent, Result, undefined>;

export class ResponseEvents {
  readonly #request: ResponsesRequest;
  readonly #logprobsOf: LogprobsOf;
  readonly #response: ResponseObject;
  readonly #output: OutputItem[] = [];
  #open: OpenItem | null = null;
  /** The number of the open call. */
  #call = -1;
  #sequence = 0;
  #isCut = false;

  /** `response` is in progress. */
  constructor(response: ResponseObject, request: ResponsesRequest, tokenizer: Tokenizer | null) {
    this.#response = response;
    this.#request = request;
    const spell = spellerOf(tokenizer, false);
    this.#logprobsOf = request.form.hasLogprobs ? (pieces) => chatLogprobs(spell, tokenizer, pieces).content : () => [];
  }

  *begin(): Events {
    yield this.#whole("response.created", this.#response);
    yield this.#whole("response.in_progress", this.#response);
  }

  *take(part: ChoicePart): Events {
    this.#isCut = part.finish === "length";
    if (part.reasoning !== "") {
      const reasoning = this.#open instanceof OpenReasoning ? this.#open : new OpenReasoning(this.#place("rs"));
      yield* this.#turnTo(reasoning);
      yield this.#numbered(reasoning.add(part.reasoning));
    }
    const pieces = this.#request.form.hasLogprobs && part.reasoning === "" ? part.tokens : [];
    if (part.text !== "" || (pieces.length > 0 && this.#open instanceof OpenMessage)) {
      const message =
        this.#open instanceof OpenMessage ? this.#open : new OpenMessage(this.#place("msg"), this.#logprobsOf);
      yield* this.#turnTo(message);
      yield this.#numbered(message.add(part.text, pieces));
    }
    for (const delta of part.calls) yield* this.#takeCall(delta);
  }

  /** The end of an answer without a fault. An answer of nothing is an empty message. */
  *end(summary: RequestSummary): Events<WholeEvent> {
    if (this.#open === null) yield* this.#turnTo(new OpenMessage(this.#place("msg"), this.#logprobsOf));
    yield* this.#close(this.#isCut ? "incomplete" : "completed");
    const response = endedResponse(this.#response, this.#output, this.#isCut, summary);
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

  *#takeCall({ index, begin, arguments: more }: CallDelta): Events {
    if (begin) {
      yield* this.#turnTo(new OpenCall(this.#place("fc"), begin));
      this.#call = index;
    }
    if (more !== "" && this.#open instanceof OpenCall && this.#call === index) {
      yield this.#numbered(this.#open.add(more));
    }
  }

  /** Closes the open item unless it is this one, and opens this one. */
  *#turnTo(item: OpenItem): Events {
    if (this.#open === item) return;
    yield* this.#close("completed");
    this.#open = item;
    for (const body of item.opening()) yield this.#numbered(body);
  }

  *#close(status: ItemStatus): Events {
    if (this.#open === null) return;
    for (const body of this.#open.closing(status)) yield this.#numbered(body);
    this.#output.push(this.#open.item(status));
    this.#open = null;
  }

  /** Of the item that follows the open one. */
  #place(prefix: string): Place {
    const { id, ownItems } = this.#request.form;
    const index = this.#output.length + (this.#open === null ? 0 : 1);
    return { id: itemIdOf(id, ownItems + index, prefix), index };
  }

  #soFar(): OutputItem[] {
    return this.#open === null ? this.#output : [...this.#output, this.#open.item("incomplete")];
  }

  #numbered<Body extends EventBody>(body: Body): ResponseEvent & Body {
    return { ...body, sequence_number: this.#sequence++ };
  }

  #whole(type: string, response: ResponseObject): WholeEvent {
    return this.#numbered({ type, response });
  }
}
