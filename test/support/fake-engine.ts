/** An engine for tests: generates the tokens of a script, at the script's speed, and records every request and ending. */
import { LorikeetError } from "../../src/base/errors.js";
import type {
  Engine,
  EngineEvent,
  EngineLimits,
  EngineListener,
  EngineRequest,
  FinishReason,
  SequenceHandle,
  TokenLogprob,
} from "../../src/engine/types.js";

export interface FakeScript {
  /** The ids that a request is answered with, before `maxTokens` cuts them; by default the prompt again and again. */
  answer?(request: EngineRequest): Iterable<number>;
  /** Milliseconds between two tokens; 0: a turn of the event loop. */
  tokenMs?: number;
  /** Awaited before a request is admitted; throws to fail it. */
  admission?(request: EngineRequest): Promise<void>;
  /** Ends a request with this error after so many tokens. */
  failAfter?: { readonly tokens: number; readonly error: Error };
  cachedTokens?: number;
  limits?: Partial<EngineLimits>;
  /** How many more wait for a slot; with any, no slot is idle. */
  waiting?(): number;
}

export interface FakeSequence extends SequenceHandle {
  readonly request: EngineRequest;
  readonly endings: readonly ("stop" | "cancelled")[];
  readonly isPaused: boolean;
  readonly pauses: number;
  readonly tokens: number;
  readonly finished: FinishReason | null;
}

export interface FakeEngine extends Engine {
  readonly sequences: FakeSequence[];
  readonly running: number;
}

const wait = (ms: number): Promise<void> =>
  new Promise((resolve) => (ms === 0 ? setImmediate(resolve) : setTimeout(resolve, ms)));

/** A log-probability that depends on the id alone, with `k` alternatives counted upwards from it. */
export function fakeLogprob(id: number, k: number): TokenLogprob {
  const top = Array.from({ length: k }, (_, index) => ({ id: (id + index) % 256, logprob: -(index + 1) / 4 }));
  return { id, logprob: -0.25, top };
}

export function fakeEngine(script: FakeScript = {}): FakeEngine {
  const limits = { maxBatch: 4, maxContext: 256, maxQueue: 8, maxAdapterQueue: 8, ...script.limits };
  const sequences: Sequence[] = [];
  let isDraining = false;
  const live = (): Sequence[] => sequences.filter((sequence) => sequence.finished === null);
  return {
    limits,
    sequences,
    get running() {
      return live().length;
    },
    submit(request, listener) {
      if (isDraining) throw new LorikeetError("draining", "The engine takes no new requests.");
      if (live().length >= limits.maxQueue) {
        throw new LorikeetError("queue_full", `The queue is full: ${limits.maxQueue} requests wait.`);
      }
      const sequence = new Sequence(sequences.length, request, script);
      sequences.push(sequence);
      if (listener) void tell(sequence, listener);
      return sequence;
    },
    preparePooling: async () => {},
    stats: () => ({
      running: live().length,
      waiting: script.waiting?.() ?? 0,
      queues: [],
      oldestWaitMs: 0,
      slots: { decoding: live().length, prefilling: 0, idle: (script.waiting?.() ?? 0) > 0 ? 0 : limits.maxBatch },
      runningAdapters: [],
      waitingAdapters: [],
      activeAdapterBytes: 0,
      activeAdapters: live().flatMap(({ request }) => (request.adapter === null ? [] : [request.adapter])),
    }),
    async drain(graceMs) {
      isDraining = true;
      const until = performance.now() + graceMs;
      while (live().length > 0 && performance.now() < until) await wait(5);
      for (const sequence of live()) sequence.shutdown();
      while (live().length > 0) await wait(1);
    },
    close: async () => {},
  };
}

async function tell(sequence: Sequence, listener: EngineListener): Promise<void> {
  for await (const event of sequence) listener(event);
}

class Sequence implements FakeSequence {
  readonly endings: ("stop" | "cancelled")[] = [];
  isPaused = false;
  pauses = 0;
  tokens = 0;
  finished: FinishReason | null = null;
  #ending: FinishReason | null = null;

  constructor(
    readonly id: number,
    readonly request: EngineRequest,
    readonly script: FakeScript,
  ) {}

  end(reason: "stop" | "cancelled"): void {
    this.endings.push(reason);
    this.#ending ??= reason;
  }

  shutdown(): void {
    this.#ending ??= "shutdown";
  }

  pause(): void {
    this.isPaused = true;
    this.pauses++;
  }

  resume(): void {
    this.isPaused = false;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<EngineEvent, void, undefined> {
    const { request, script } = this;
    const startedAt = performance.now();
    try {
      await this.#admission();
    } catch (error) {
      yield this.#finish("error", null, error instanceof Error ? error : new Error(String(error)));
      return;
    }
    if (this.#ending) {
      yield this.#finish(this.#ending, null, null);
      return;
    }
    yield { type: "admitted", queueMs: performance.now() - startedAt };
    const k = request.promptLogprobs;
    if (k !== null) {
      const logprobs = request.promptIds.map((id, index) => (index === 0 ? null : fakeLogprob(id, k)));
      yield { type: "prompt", logprobs };
    }
    const answer = script.answer?.(request) ?? repeat(request.promptIds);
    for (const id of answer) {
      if (this.tokens >= request.maxTokens) break;
      await this.#waitForToken(script.tokenMs ?? 0);
      while (this.isPaused && !this.#ending) await wait(1);
      if (this.#ending) break;
      if (script.failAfter?.tokens === this.tokens) {
        yield this.#finish("error", null, script.failAfter.error);
        return;
      }
      if (request.stopIds.includes(id)) {
        if (request.emitsStop) yield this.#token(id);
        yield this.#finish("stop", id, null);
        return;
      }
      yield this.#token(id);
    }
    yield this.#finish(this.#ending ?? "length", null, null);
  }

  #token(id: number): EngineEvent {
    this.tokens++;
    const { logprobs } = this.request.sampling;
    return { type: "token", id, logprob: logprobs === null ? null : fakeLogprob(id, logprobs) };
  }

  /** An ending comes at once, as in an engine that ends sequences between two steps. */
  async #waitForToken(ms: number): Promise<void> {
    const until = performance.now() + ms;
    do await wait(Math.min(ms, 5));
    while (!this.#ending && performance.now() < until);
  }

  /** Ends early when the sequence is ended while it waits. */
  async #admission(): Promise<void> {
    const admitted = this.script.admission?.(this.request) ?? Promise.resolve();
    let isAdmitted = false;
    const watch = (async () => {
      while (!isAdmitted && !this.#ending) await wait(1);
    })();
    try {
      await Promise.race([admitted, watch]);
    } finally {
      isAdmitted = true;
    }
  }

  #finish(reason: FinishReason, stopId: number | null, error: Error | null): EngineEvent {
    this.finished = reason;
    const cachedTokens = this.script.cachedTokens ?? 0;
    return {
      type: "finish",
      reason,
      stopId,
      error,
      promptTokens: this.request.promptIds.length,
      completionTokens: this.tokens,
      timings: { queueMs: 0, timeToFirstTokenMs: null, cachedTokens },
    };
  }
}

function* repeat(ids: readonly number[]): Iterable<number> {
  while (ids.length > 0) yield* ids;
}
