/** What a request is once it has been parsed. Inside the gateway these types are trusted. */
import type { ChatMessage } from "../text/types.js";

/** Sampling as asked for: null where the request is silent. */
export interface SamplingInput {
  readonly temperature: number | null;
  readonly topK: number | null;
  readonly topP: number | null;
  readonly minP: number | null;
  readonly repetitionPenalty: number | null;
  readonly presencePenalty: number | null;
  readonly frequencyPenalty: number | null;
  readonly logitBias: ReadonlyMap<number, number>;
  readonly seed: number | null;
}

interface CommonRequest {
  readonly model: string;
  readonly stream: boolean;
  readonly includeUsage: boolean;
  readonly choices: number;
  /** null: the kind's default. */
  readonly maxTokens: number | null;
  readonly stops: readonly string[];
  readonly sampling: SamplingInput;
  readonly ignoreEos: boolean;
  readonly returnTokenIds: boolean;
  /** null: none. k: each token's and the k best alternatives'. */
  readonly logprobs: number | null;
}

export type Prompt =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "ids"; readonly ids: readonly number[] };

export interface CompletionRequest extends CommonRequest {
  readonly kind: "completions";
  readonly prompts: readonly Prompt[];
  readonly echo: boolean;
}

export interface ChatRequest extends CommonRequest {
  readonly kind: "chat";
  readonly messages: readonly ChatMessage[];
}

export type GenerationRequest = CompletionRequest | ChatRequest;
