/** One request in the engine: its tokens, the resources it holds, and the events for its reader or listener. */
import type { AdapterLease, HostAdapter } from "../adapter/types.js";
import { AsyncQueue } from "../base/async-queue.js";
import { assert } from "../base/errors.js";
import type { Ticket } from "../base/fair-queue.js";
import type { BankHold } from "./adapters/bank.js";
import { Pooler } from "./pooler.js";
import type { SamplerState } from "./sampling/sampler.js";
import type { Task } from "./scheduler.js";
import type { AdapterHold } from "./steps.js";
import type {
  EngineEvent,
  EngineListener,
  EngineRequest,
  FinishReason,
  SequenceHandle,
  TokenLogprob,
} from "./types.js";

/** Prompt scoring keeps the logits of every token of a chunk. */
const scoringChunk = 64;
/** A reader that is this far behind gets no more tokens until it catches up. */
const maxUnread = 256;

export type Phase = "waiting" | "loading" | "running" | "finished";

export class Sequence<Held = HostAdapter, Hold extends AdapterHold = BankHold> implements SequenceHandle {
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
  /** Tokens to prefill before it decodes: the prompt, or the whole text if that is recomputed. */
  readTokens: number;
  paused = false;
  /** Its place in the queue, then the account of its adapter's tokens. */
  ticket: Ticket | null = null;
  lease: AdapterLease<Held> | null = null;
  hold: Hold | null = null;
  admittedAt: number | null = null;
  firstTokenAt: number | null = null;
  promptLogprobs: (TokenLogprob | null)[] | null;
  /** null if it generates. */
  readonly pooler: Pooler | null;
  /** Set when the caller ends it; takes effect between two steps. */
  ending: FinishReason | null = null;
  onChange: () => void = () => {};
  unlisten: () => void = () => {};
  readonly #listener: EngineListener | null;
  /** null with a listener. */
  readonly #events: AsyncQueue<EngineEvent> | null;

  constructor(
    id: number,
    request: EngineRequest,
    state: SamplerState,
    now: number,
    listener: EngineListener | null = null,
  ) {
    this.id = id;
    this.request = request;
    this.state = state;
    this.submittedAt = now;
    this.tokens = [...request.promptIds];
    this.readTokens = request.promptIds.length;
    this.pooler = request.pooling ? new Pooler(request.pooling, request.promptIds.length) : null;
    this.promptLogprobs = request.promptLogprobs === null ? null : [null];
    this.#listener = listener;
    this.#events = listener === null ? new AsyncQueue() : null;
  }

  /** The sequence as the scheduler sees it; `maxChunk` bounds the chunks of its prompt. */
  task(maxChunk: number): Task {
    return {
      slot: this.slot,
      order: this.id,
      computed: this.computed,
      known: this.tokens.length,
      promptTokens: this.readTokens,
      paused: this.paused || (this.#events?.size ?? 0) > maxUnread,
      maxChunk: this.promptLogprobs ? scoringChunk : maxChunk,
    };
  }

  get promptTokens(): number {
    return this.request.promptIds.length;
  }

  /** Recomputes its keys and values from the first token. */
  reread(): void {
    this.computed = 0;
    this.readTokens = this.tokens.length;
  }

  get generated(): number {
    return this.tokens.length - this.promptTokens;
  }

  emit(event: EngineEvent): void {
    const listener = this.#listener;
    // Not during the engine's own work, since a listener may call the engine.
    if (listener) queueMicrotask(() => listener(event));
    this.#events?.push(event);
    if (event.type === "finish") this.#events?.end(null);
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

  async *[Symbol.asyncIterator](): AsyncGenerator<EngineEvent, void, undefined> {
    assert(this.#events, "a sequence with a listener keeps no events");
    let read = 0;
    try {
      for await (const event of this.#events) {
        if (++read % 64 === 0) this.onChange(); // the engine may continue for a reader that was behind
        yield event;
      }
    } finally {
      // A reader that stops early has left.
      this.end("cancelled");
    }
  }
}
