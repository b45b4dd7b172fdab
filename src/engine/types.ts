/** The engine's interface: a request of token ids in, a stream of events out. No text, no HTTP. */

import type { Grammar } from "../grammar/grammar.js";

export interface SamplingParams {
  /** 0 is greedy. */
  readonly temperature: number;
  /** 0 is off. */
  readonly topK: number;
  readonly topP: number;
  readonly minP: number;
  readonly repetitionPenalty: number;
  readonly presencePenalty: number;
  readonly frequencyPenalty: number;
  /** Added to the logits before anything else. */
  readonly logitBias: ReadonlyMap<number, number>;
  /** The only ids that may come; null: all. */
  readonly allowedIds: readonly number[] | null;
  /** So many tokens come before any of `heldIds` may. */
  readonly minTokens: number;
  /** Ids that would end the sequence. */
  readonly heldIds: readonly number[];
  /** The text is one of its texts, however far it comes; null: any. The sequence ends with the text. */
  readonly grammar: Grammar | null;
  /** Ids that end the sequence and may come where a text of the grammar may end. */
  readonly grammarEndIds: readonly number[];
  readonly seed: number | null;
  /** null: no log-probabilities. k: the chosen token's and the k best alternatives'. They are of the unmodified distribution, as OpenAI's and vLLM's are. */
  readonly logprobs: number | null;
}

export const greedy: SamplingParams = {
  temperature: 0,
  topK: 0,
  topP: 1,
  minP: 0,
  repetitionPenalty: 1,
  presencePenalty: 0,
  frequencyPenalty: 0,
  logitBias: new Map(),
  allowedIds: null,
  minTokens: 0,
  heldIds: [],
  grammar: null,
  grammarEndIds: [],
  seed: null,
  logprobs: null,
};

export interface EngineRequest {
  readonly promptIds: readonly number[];
  /** 0 with `promptLogprobs` scores the prompt and generates nothing. */
  readonly maxTokens: number;
  readonly sampling: SamplingParams;
  /** Ids that end the sequence, reported as `stopId`. */
  readonly stopIds: readonly number[];
  /** The stop id is emitted as a token too, before the end. Default false. */
  readonly emitsStop?: boolean;
  /** The digest of what the adapter computes, or null for the base. */
  readonly adapter: string | null;
  /** How faults of the adapter name it; its digest unless given. */
  readonly adapterName?: string;
  /** null: none. k: log-probability of each prompt token and its k best alternatives. */
  readonly promptLogprobs: number | null;
  readonly signal?: AbortSignal;
}

export interface TokenLogprob {
  readonly id: number;
  readonly logprob: number;
  /** 1 for the likeliest token. Of tokens of a prompt alone. */
  readonly rank?: number;
  /** Best alternatives, best first; may hold `id` itself. */
  readonly top: readonly { readonly id: number; readonly logprob: number }[];
}

export type FinishReason = "stop" | "length" | "cancelled" | "error" | "shutdown";

export interface SequenceTimings {
  readonly queueMs: number;
  /** From submit to the first token; null when none came. */
  readonly timeToFirstTokenMs: number | null;
  readonly cachedTokens: number;
}

export type EngineEvent =
  /** The adapter is leased and a KV slot is held: nothing but a fault can stop it now. */
  | { readonly type: "admitted"; readonly queueMs: number }
  /** One entry a prompt token; the first is null (nothing predicts it). */
  | { readonly type: "prompt"; readonly logprobs: readonly (TokenLogprob | null)[] }
  | { readonly type: "token"; readonly id: number; readonly logprob: TokenLogprob | null }
  | {
      readonly type: "finish";
      readonly reason: FinishReason;
      /** The stop id that ended it, if one did. */
      readonly stopId: number | null;
      /** With reason `error`. */
      readonly error: Error | null;
      readonly promptTokens: number;
      readonly completionTokens: number;
      readonly timings: SequenceTimings;
    };

/** Is told every event of a sequence, each in a microtask of its own. It must not throw. */
export type EngineListener = (event: EngineEvent) => void;

/** A running sequence. Iterate it once, unless it has a listener. Exactly one `finish` event ends every sequence. */
export interface SequenceHandle extends AsyncIterable<EngineEvent> {
  readonly id: number;
  /** Ends the sequence within one step or chunk: `stop` when the caller saw a stop string, `cancelled` when the client left. Idempotent. */
  end(reason: "stop" | "cancelled"): void;
  /** While paused no token is computed for it; its slot and lease stay. For readers that are slow. */
  pause(): void;
  resume(): void;
}

export interface EngineStats {
  readonly running: number;
  readonly waiting: number;
  /** Those of them that wait for their turn, by adapter; null is the base. */
  readonly queues: readonly { readonly adapter: string | null; readonly waiting: number }[];
  /** How long the first of them has waited; 0 when none waits. */
  readonly oldestWaitMs: number;
  readonly slots: { readonly decoding: number; readonly prefilling: number; readonly idle: number };
  readonly runningAdapters: readonly string[];
  readonly waitingAdapters: readonly string[];
  readonly activeAdapterBytes: number;
  readonly activeAdapters: readonly string[];
}

/** Told of what happens, for metrics. Calls are synchronous and must be cheap. */
export interface EngineObserver {
  step?(step: {
    readonly kind: "prefill" | "decode";
    readonly seconds: number;
    readonly rows: number;
    readonly adapters: number;
    readonly tokens: number;
  }): void;
  adapterLoaded?(load: { readonly digest: string; readonly from: "host" | "disk"; readonly seconds: number }): void;
}

export interface EngineLimits {
  /** KV slots: rows of the largest batch. */
  readonly maxBatch: number;
  /** Tokens a slot holds. */
  readonly maxContext: number;
  /** Sequences that may wait; past it `submit` throws `queue_full`, or the newest of the longest queue ends with it. */
  readonly maxQueue: number;
  /** Sequences of one adapter, or of the base, that may wait; past it `submit` throws `adapter_queue_full`. */
  readonly maxAdapterQueue: number;
}

export interface Engine {
  readonly limits: EngineLimits;
  /** Throws LorikeetError `queue_full`, `adapter_queue_full`, `draining` or `context_length_exceeded` at once; later faults arrive as the `finish` event. Without a `listener` the events are kept for whoever iterates the handle. */
  submit(request: EngineRequest, listener?: EngineListener): SequenceHandle;
  stats(): EngineStats;
  /** Refuses new sequences, lets the running ones finish for `graceMs`, then ends the rest with `shutdown`. */
  drain(graceMs: number): Promise<void>;
  /** Ends every sequence with `shutdown` after the step that runs, or after `graceMs` whatever becomes of that step. */
  close(graceMs?: number): Promise<void>;
}
