/** The limits on requests, apart from transport: one named option each, with its default. */

import type { EngineLimits } from "../engine/types.js";
import { type GrammarOptions, grammarDefaults } from "../grammar/compiler.js";
import type { ChatFormatOptions } from "./chat-formats.js";

export interface GatewayOptions extends GrammarOptions, ChatFormatOptions {
  /** Characters of one prompt before it is tokenized. null: 16 for each token of the context. */
  readonly maxPromptCharacters: number | null;
  /** Characters of all requests waiting to be tokenized. */
  readonly maxQueuedCharacters: number;
  /** Prompts times choices of one request. */
  readonly maxSequences: number;
  /** `n`. */
  readonly maxChoices: number;
  readonly maxStops: number;
  readonly maxStopCharacters: number;
  /** Entries of `stop_token_ids`. */
  readonly maxStopTokenIds: number;
  /** `logprobs` and `top_logprobs`. */
  readonly maxLogprobs: number;
  /** Log-probabilities of one answer: tokens of its prompts and choices, times one and the alternatives. */
  readonly maxLogprobEntries: number;
  /** Entries of `logit_bias`. */
  readonly maxLogitBias: number;
  readonly maxMessages: number;
  /** Entries of `tools`, and of a message's `tool_calls`. */
  readonly maxTools: number;
  /** Adapters of a mixture. */
  readonly maxMixedAdapters: number;
  /** Different mixtures in use at once. */
  readonly maxMixtures: number;
  /** How long a request may wait until its first sequence is admitted. */
  readonly queueTimeoutMs: number;
  /** The maximum duration of a request. */
  readonly requestTimeoutMs: number;
  /** The sampling defaults for what a request omits: OpenAI's, or those of the model's generation_config.json. */
  readonly generationConfig: "openai" | "model";
  /** The only folder below which `load_lora_adapter` may read; null refuses the call. */
  readonly loraPathRoot: string | null;
}

/** What parsing a request depends on: the limits, and the model's sizes. */
export interface RequestBounds extends GatewayOptions {
  readonly vocabSize: number;
  readonly maxContext: number;
  /** Tokens of an answer where they take no room of the prompt's. Default: both share `maxContext`. */
  readonly maxGenerated?: number;
}

/** The most tokens that a request can ask for. */
export const mostTokens = ({ maxContext, maxGenerated }: Pick<RequestBounds, "maxContext" | "maxGenerated">): number =>
  maxGenerated ?? maxContext;

/** Where more sequences of a request are allowed than can run and wait at once, no more than those: the queue would never take them. */
export function withinQueue(
  options: GatewayOptions,
  { maxBatch, maxQueue, maxAdapterQueue }: Pick<EngineLimits, "maxBatch" | "maxQueue" | "maxAdapterQueue">,
): GatewayOptions {
  const most = maxBatch + Math.min(maxQueue, maxAdapterQueue);
  return { ...options, maxSequences: Math.min(options.maxSequences, most) };
}

export const gatewayDefaults: GatewayOptions = {
  ...grammarDefaults,
  maxPromptCharacters: null,
  maxQueuedCharacters: 8 * 2 ** 20,
  maxSequences: 64,
  maxChoices: 16,
  maxStops: 4,
  maxStopCharacters: 256,
  maxStopTokenIds: 128,
  maxLogprobs: 20,
  maxLogprobEntries: 256 * 2 ** 10,
  maxLogitBias: 1024,
  maxMessages: 1024,
  maxTools: 128,
  toolCallParser: "auto",
  reasoningParser: "auto",
  maxMixedAdapters: 8,
  maxMixtures: 16,
  queueTimeoutMs: 60_000,
  requestTimeoutMs: 600_000,
  generationConfig: "openai",
  loraPathRoot: null,
};
