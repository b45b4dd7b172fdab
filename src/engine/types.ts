/** The engine's interface: a request of token ids in, a stream of events out. No text, no HTTP. */

import type { Grammar } from "../grammar/grammar.js";
import type { Pooling } from "./pooler.js";

export interface SamplingParams {
  /** 0: greedy. */
  readonly temperature: number;
  /** 0: off. */
  readonly topK: number;
  readonly topP: number;
  readonly minP: number;
  readonly repetitionPenalty: number;
  readonly presencePenalty: number;
  readonly frequencyPenalty: number;
  /** Added to the logits before anything else. */
  readonly logitBias: ReadonlyMap<number, number>;
  /** The only ids that may be generated; null: all. */
  readonly allowedIds: readonly number[] | null;
  /** Tokens to generate before any of `heldIds` is allowed. */
  readonly minTokens: number;
  /** Ids that would end the sequence. */
  readonly heldIds: readonly number[];
  /** The text is one of its texts, however far it comes; null: any. The sequence ends with the text. */
  readonly grammar: Grammar | null;
  /** Ids that end the sequence and may come where a text of the grammar may end. */
  readonly grammarEndIds: readonly number[];
  readonly seed: number | null;
  /** null: no log-probabilities. k: the chosen token's and the k best alternatives'. They refer to the unmodified distribution, as OpenAI's and vLLM's do. */
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
  /** The first token of the text, as an encoder-decoder's target language. Default: the model's own, or free. */
  readonly firstId?: number;
  /** Takes the place of the last token of a text that reaches `maxTokens`, and ends it as a stop id would. Default: nothing does. */
  readonly forcedEndId?: number;
  /** Ids that end the sequence, reported as `stopId`. */
  readonly stopIds: readonly number[];
  /** Whether the stop id is also emitted as a token. Default: false. */
  readonly emitsStop?: boolean;
  /** The adapter's `weightsDigest`; null for the base. */
  readonly adapter: string | null;
  /** The adapter's name in errors. Default: its digest. */
  readonly adapterName?: string;
  /** null: none. k: log-probability of each prompt token and its k best alternatives. */
  readonly promptLogprobs: number | null;
  /** Gives a `pooled` event after the prompt, and generates nothing: `maxTokens` is 0. Only after `preparePooling`. */
  readonly pooling?: Pooling;
  readonly signal?: AbortSignal;
}

export interface TokenLogprob {
  readonly id: number;
  readonly logprob: number;
  /** 1 for the likeliest token. Only for tokens of a prompt. */
  readonly rank?: number;
  /** The likeliest alternatives, best first; may include `id` itself. */
  readonly top: readonly { readonly id: number; readonly logprob: number }[];
}

export type FinishReason = "stop" | "length" | "cancelled" | "error" | "shutdown";

export interface SequenceTimings {
  readonly queueMs: number;
  /** Time from submission to the first token; null without one. */
  readonly timeToFirstTokenMs: number | null;
  readonly cachedTokens: number;
}

export type EngineEvent =
  /** The adapter is leased and a KV slot is held: from here on only an error can stop it. */
  | { readonly type: "admitted"; readonly queueMs: number }
  /** One entry per prompt token. The first is null, since nothing predicts it. */
  | { readonly type: "prompt"; readonly logprobs: readonly (TokenLogprob | null)[] }
  | { readonly type: "token"; readonly id: number; readonly logprob: TokenLogprob | null }
  /** The prompt's hidden states as one vector, and its scores where the adapter or the base has a classification head. */
  | {
      readonly type: "pooled";
      readonly vector: Float32Array;
      readonly scores: Float32Array | null;
      /** What the adapter calls them; null: as the base does. */
      readonly labels: readonly string[] | null;
    }
  | {
      readonly type: "finish";
      readonly reason: FinishReason;
      /** The stop id that ended it, if any. */
      readonly stopId: number | null;
      /** With reason `error`. */
      readonly error: Error | null;
      readonly promptTokens: number;
      readonly completionTokens: number;
      readonly timings: SequenceTimings;
    };

/** Called with every event of a sequence, each in its own microtask. It must not throw. */
export type EngineListener = (event: EngineEvent) => void;

/** A running sequence. Iterate it once, unless it has a listener. Exactly one `finish` event ends every sequence. */
export interface SequenceHandle extends AsyncIterable<EngineEvent> {
  readonly id: number;
  /** Ends the sequence within one step or chunk: `stop` if the caller found a stop string, `cancelled` if the client left. Idempotent. */
  end(reason: "stop" | "cancelled"): void;
  /** No token is computed while paused, but slot and lease are kept. For slow readers. */
  pause(): void;
  resume(): void;
}

export interface EngineStats {
  readonly running: number;
  readonly waiting: number;
  /** The waiting ones, by adapter; null is the base. */
  readonly queues: readonly { readonly adapter: string | null; readonly waiting: number }[];
  /** How long the first of them has waited; 0 if none is waiting. */
  readonly oldestWaitMs: number;
  readonly slots: { readonly decoding: number; readonly prefilling: number; readonly idle: number };
  readonly runningAdapters: readonly string[];
  readonly waitingAdapters: readonly string[];
  readonly activeAdapterBytes: number;
  readonly activeAdapters: readonly string[];
}

/** Callbacks for metrics. They are synchronous and must be cheap. */
export interface EngineObserver {
  step?(step: {
    /** "batch": a run of a task model. */
    readonly kind: "prefill" | "decode" | "batch";
    readonly seconds: number;
    readonly rows: number;
    readonly adapters: number;
    readonly tokens: number;
  }): void;
  adapterLoaded?(load: { readonly digest: string; readonly from: "host" | "disk"; readonly seconds: number }): void;
}

export interface EngineLimits {
  /** KV slots, which is also the largest batch. */
  readonly maxBatch: number;
  /** Tokens a slot holds. */
  readonly maxContext: number;
  /** Where generated tokens take no room of the prompt's, their maximum. Default: they share the slot with the prompt. */
  readonly maxGenerated?: number;
  /** Maximum waiting sequences. Beyond it `submit` throws `queue_full`, or the newest of the longest queue ends with it. */
  readonly maxQueue: number;
  /** Maximum waiting sequences of one adapter, or of the base. Beyond it `submit` throws `adapter_queue_full`. */
  readonly maxAdapterQueue: number;
}

export interface Engine {
  readonly limits: EngineLimits;
  /** Throws LorikeetError `queue_full`, `adapter_queue_full`, `draining` or `context_length_exceeded` immediately; later errors arrive as the `finish` event. Without a `listener` the events are kept until the handle is iterated. */
  submit(request: EngineRequest, listener?: EngineListener): SequenceHandle;
  /** Creates, at its first call, what requests with `pooling` run. */
  preparePooling(): Promise<void>;
  stats(): EngineStats;
  /** Refuses new sequences, lets running ones finish for `graceMs`, then ends the rest with `shutdown`. */
  drain(graceMs: number): Promise<void>;
  /** Ends every sequence with `shutdown` after the current step, or after `graceMs` even if that step has not ended. */
  close(graceMs?: number): Promise<void>;
}
