/** One admitted answer as a caller gets it: its identity, its parts in OpenAI's form, and the handles to slow or stop it. */
import { LorikeetError } from "../base/errors.js";
import type { Generation } from "./generation.js";
import type { RequestSummary } from "./observer.js";
import {
  type Wire,
  type WireAnswer,
  type WireChunk,
  type WireExtras,
  type WireUsage,
  wireExtras,
  wireUsage,
} from "./openai/serialize.js";
import { collectChoices, type Extras } from "./parts.js";

/** `done` comes last, once, after the usage chunk that a request may have asked for. */
export type AnswerPart =
  | { readonly type: "chunk"; readonly data: WireChunk }
  | { readonly type: "done"; readonly usage: WireUsage; readonly lorikeet: WireExtras };

export interface CollectedAnswer {
  readonly data: WireAnswer;
  readonly lorikeet: WireExtras;
}

export interface AnswerIdentity {
  readonly model: string;
  readonly adapter: string | null;
  readonly digest: string | null;
  /** The request asked for a stream. */
  readonly stream: boolean;
  readonly includeUsage: boolean;
}

export class Answer {
  readonly model: string;
  readonly adapter: string | null;
  readonly digest: string | null;
  readonly stream: boolean;
  readonly queueMs: number;
  /** Resolves when everything is given back. Never rejects. */
  readonly ended: Promise<RequestSummary>;
  readonly #generation: Generation;
  readonly #wire: Wire;
  readonly #includeUsage: boolean;

  constructor(
    identity: AnswerIdentity,
    queueMs: number,
    generation: Generation,
    wire: Wire,
    ended: Promise<RequestSummary>,
  ) {
    this.model = identity.model;
    this.adapter = identity.adapter;
    this.digest = identity.digest;
    this.stream = identity.stream;
    this.#includeUsage = identity.includeUsage;
    this.queueMs = queueMs;
    this.ended = ended;
    this.#generation = generation;
    this.#wire = wire;
  }

  /** Iterate it once, or call `collect`; throws the LorikeetError that ended the answer. A reader that leaves early cancels it. */
  async *parts(): AsyncGenerator<AnswerPart, void, undefined> {
    try {
      for await (const part of this.#generation.parts) yield { type: "chunk", data: this.#wire.chunk(part) };
      const end = await this.#generation.ended;
      const extras = this.#extras(end.timeToFirstTokenMs);
      if (this.#includeUsage) yield { type: "chunk", data: this.#wire.usageChunk(end.usage, extras) };
      yield { type: "done", usage: wireUsage(end.usage), lorikeet: wireExtras(extras) };
    } finally {
      this.cancel();
    }
  }

  /** The whole answer; throws the LorikeetError that ended it. */
  async collect(): Promise<CollectedAnswer> {
    const choices = await collectChoices(this.#generation.parts);
    const end = await this.#generation.ended;
    return {
      data: this.#wire.answer(choices, end.usage),
      lorikeet: wireExtras(this.#extras(end.timeToFirstTokenMs)),
    };
  }

  /** No token is computed until `resume`; what is held stays held. */
  pause(): void {
    this.#generation.pause();
  }

  resume(): void {
    this.#generation.resume();
  }

  /** Whether it holds a slot, as it does while it is paused, and others wait for one. */
  get keepsOthersWaiting(): boolean {
    return this.#generation.keepsOthersWaiting;
  }

  /** Ends it within one step, for a reason that its summary tells. Idempotent, and nothing after the end. */
  cancel(reason = new LorikeetError("cancelled", "The request was cancelled.")): void {
    this.#generation.end(reason);
  }

  #extras(timeToFirstTokenMs: number | null): Extras {
    return { adapter: this.adapter, digest: this.digest, queueMs: this.queueMs, timeToFirstTokenMs };
  }
}
