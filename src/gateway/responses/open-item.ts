/** Items that are being written: the events that open one, add to it and close it. Numbers no events. */
import type { CallDelta } from "../../text/tools/types.js";
import type { TokenPiece } from "../assembler.js";
import {
  type FunctionCall,
  type ItemStatus,
  type OutputItem,
  type OutputMessage,
  outputText,
  type Reasoning,
} from "./items.js";

/** An event without its number. */
export interface EventBody {
  readonly type: string;
}

export interface OpenItem {
  /** The item so far. */
  item(status: ItemStatus): OutputItem;
  opening(): Iterable<EventBody>;
  closing(status: ItemStatus): Iterable<EventBody>;
}

/** Where an item is in the output. */
export interface Place {
  readonly id: string;
  readonly index: number;
}

export type LogprobsOf = (pieces: readonly TokenPiece[]) => Iterable<unknown>;

/** A message with one text. */
export class OpenMessage implements OpenItem {
  readonly #place: Place;
  readonly #logprobsOf: LogprobsOf;
  readonly #pieces: TokenPiece[] = [];
  #text = "";

  constructor(place: Place, logprobsOf: LogprobsOf) {
    this.#place = place;
    this.#logprobsOf = logprobsOf;
  }

  item(status: ItemStatus): OutputMessage {
    return { id: this.#place.id, type: "message", status, role: "assistant", content: [this.#part()] };
  }

  *opening(): Generator<EventBody, void, undefined> {
    yield added(this.#place, { ...this.item("in_progress"), content: [] });
    yield body("response.content_part.added", { ...inPart(this.#place), part: outputText("") });
  }

  /** `pieces` only where log-probabilities were asked for. */
  add(delta: string, pieces: readonly TokenPiece[]): EventBody {
    this.#text += delta;
    for (const piece of pieces) this.#pieces.push(piece);
    return body("response.output_text.delta", { ...inPart(this.#place), delta, logprobs: this.#logprobsOf(pieces) });
  }

  *closing(status: ItemStatus): Generator<EventBody, void, undefined> {
    const part = this.#part();
    const { text, logprobs } = part;
    yield body("response.output_text.done", { ...inPart(this.#place), text, logprobs });
    yield body("response.content_part.done", { ...inPart(this.#place), part });
    yield done(this.#place, this.item(status));
  }

  #part() {
    return { ...outputText(this.#text), logprobs: this.#logprobsOf(this.#pieces) };
  }
}

export class OpenReasoning implements OpenItem {
  readonly #place: Place;
  #text = "";

  constructor(place: Place) {
    this.#place = place;
  }

  item(status: ItemStatus): Reasoning {
    return { id: this.#place.id, type: "reasoning", status, summary: [], content: [reasoningText(this.#text)] };
  }

  *opening(): Generator<EventBody, void, undefined> {
    yield added(this.#place, { ...this.item("in_progress"), content: [] });
    yield body("response.content_part.added", { ...inPart(this.#place), part: reasoningText("") });
  }

  add(delta: string): EventBody {
    this.#text += delta;
    return body("response.reasoning_text.delta", { ...inPart(this.#place), delta });
  }

  *closing(status: ItemStatus): Generator<EventBody, void, undefined> {
    yield body("response.reasoning_text.done", { ...inPart(this.#place), text: this.#text });
    yield body("response.content_part.done", { ...inPart(this.#place), part: reasoningText(this.#text) });
    yield done(this.#place, this.item(status));
  }
}

export class OpenCall implements OpenItem {
  readonly #place: Place;
  readonly #callId: string;
  readonly #name: string;
  #arguments = "";

  constructor(place: Place, { id, name }: NonNullable<CallDelta["begin"]>) {
    this.#place = place;
    this.#callId = id;
    this.#name = name;
  }

  item(status: ItemStatus): FunctionCall {
    const own = { id: this.#place.id, type: "function_call", status } as const;
    return { ...own, call_id: this.#callId, name: this.#name, arguments: this.#arguments };
  }

  *opening(): Generator<EventBody, void, undefined> {
    yield added(this.#place, this.item("in_progress"));
  }

  add(delta: string): EventBody {
    this.#arguments += delta;
    return body("response.function_call_arguments.delta", { ...inItem(this.#place), delta });
  }

  *closing(status: ItemStatus): Generator<EventBody, void, undefined> {
    const call = { name: this.#name, arguments: this.#arguments };
    yield body("response.function_call_arguments.done", { ...inItem(this.#place), ...call });
    yield done(this.#place, this.item(status));
  }
}

const body = <Fields extends object>(type: string, fields: Fields): EventBody & Fields => ({ type, ...fields });

const added = ({ index }: Place, item: OutputItem): EventBody =>
  body("response.output_item.added", { output_index: index, item });

const done = ({ index }: Place, item: OutputItem): EventBody =>
  body("response.output_item.done", { output_index: index, item });

const inItem = ({ id, index }: Place) => ({ item_id: id, output_index: index });
const inPart = (place: Place) => ({ ...inItem(place), content_index: 0 });
const reasoningText = (text: string) => ({ type: "reasoning_text", text }) as const;
