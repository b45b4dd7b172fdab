/** One request on its way through the engine: its tokens, what it holds, and the stream of events that its reader takes. */
import type { AdapterLease } from "../adapter/types.js";
import { type Deferred, deferred } from "../base/async.js";
import type { Ticket } from "../base/fair-queue.js";
import type { BankHold } from "./adapters/bank.js";
import type { SamplerState } from "./sampling/sampler.js";
import type { EngineEvent, EngineRequest, FinishReason, SequenceHandle, TokenLogprob } from "./types.js";

export type Phase = "waiting" | "loading" | "running" | "finished";

export class Sequence implements SequenceHandle {
  readonly id: number;
  readonly request: EngineRequest;
  readonly submittedAt: number;
  readonly state: SamplerState;
  /** Prompt and generated tokens. */
  readonly tokens: number[];
  phase: Phase = "waiting";
  slot = -1;
  /** Tokens whose keys and values are in the slot. */
  computed = 0;
  paused = false;
  /** Its place in the queue, then the account of its adapter's tokens. */
  ticket: Ticket | null = null;
  lease: AdapterLease | null = null;
  hold: BankHold | null = null;
  admittedAt: number | null = null;
  firstTokenAt: number | null = null;
  promptLogprobs: (TokenLogprob | null)[] | null;
  /** Set when the caller wants it over; honoured between two steps. */
  ending: FinishReason | null = null;
  onChange: () => void = () => {};
  unlisten: () => void = () => {};
  readonly #events: EngineEvent[] = [];
  #read = 0;
  #arrival: Deferred<void> | null = null;

  constructor(id: number, request: EngineRequest, state: SamplerState, now: number) {
    this.id = id;
    this.request = request;
    this.state = state;
    this.submittedAt = now;
    this.tokens = [...request.promptIds];
    this.promptLogprobs = request.promptLogprobs === null ? null : [null];
  }

  get promptTokens(): number {
    return this.request.promptIds.length;
  }

  get generated(): number {
    return this.tokens.length - this.promptTokens;
  }

  emit(event: EngineEvent): void {
    this.#events.push(event);
    this.#arrival?.resolve();
    this.#arrival = null;
  }

  /** Events that nobody has read yet: a reader that stays behind is not fed. */
  get unread(): number {
    return this.#events.length - this.#read;
  }

  /** Ends with the signal, until `unlisten`: a signal may outlive many sequences. */
  listen(signal: AbortSignal | undefined): void {
    const cancel = (): void => this.end("cancelled");
    signal?.addEventListener("abort", cancel, { once: true });
    this.unlisten = () => signal?.removeEventListener("abort", cancel);
  }

  end(reason: "stop" | "cancelled"): void {
    if (this.phase === "finished" || this.ending) return;
    this.ending = reason;
    this.onChange();
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
    this.onChange();
  }

  async *[Symbol.asyncIterator](): AsyncIterator<EngineEvent> {
    try {
      for (;;) {
        const event = this.#events[this.#read];
        if (!event) {
          this.#arrival ??= deferred<void>();
          await this.#arrival.promise;
          continue;
        }
        this.#read++;
        if (this.#read === 64) {
          this.#events.splice(0, this.#read);
          this.#read = 0;
          this.onChange();
        }
        yield event;
        if (event.type === "finish") return;
      }
    } finally {
      // A reader that stops early has left.
      this.end("cancelled");
    }
  }
}
