/** What a request is once a protocol has read it. Inside the gateway these types are trusted. */
import type { GrammarSource } from "../grammar/source.js";
import type { ChatMessage, RenderOptions } from "../text/types.js";

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
  /** null: every token may come. */
  readonly allowedIds: readonly number[] | null;
  readonly seed: number | null;
}

/** Which tokens of a prompt are kept. */
export interface Truncation {
  /** -1: as many as there is room for. */
  readonly tokens: number;
  /** The side that is cut off. */
  readonly side: "left" | "right";
}

interface CommonRequest {
  /** null: the base. */
  readonly model: string | null;
  /** The answer is sent as it comes. */
  readonly stream: boolean;
  readonly choices: number;
  /** null: the kind's default. */
  readonly maxTokens: number | null;
  /** No stop ends the answer before. */
  readonly minTokens: number;
  readonly stops: readonly string[];
  readonly stopTokenIds: readonly number[];
  /** The text ends with the stop that ended it. */
  readonly includesStop: boolean;
  readonly sampling: SamplingInput;
  readonly ignoreEos: boolean;
  readonly keepsSpecialTokens: boolean;
  readonly addsSpecialTokens: boolean;
  readonly truncation: Truncation | null;
  /** null: none. k: those of the prompt's tokens and the k best alternatives'. */
  readonly promptLogprobs: number | null;
  /** What the text is held to; null: nothing. The answer ends with the text, and no stop ends it before. */
  readonly grammar: GrammarSource | null;
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

/** A chat and how its template renders it. */
export interface ChatInput {
  readonly messages: readonly ChatMessage[];
  readonly template: RenderOptions;
}

export interface ChatRequest extends CommonRequest, ChatInput {
  readonly kind: "chat";
}

export type GenerationRequest = CompletionRequest | ChatRequest;

/** Which ids a text or a chat has. */
export interface TokenizeRequest {
  /** null: the base. */
  readonly model: string | null;
  readonly input: Extract<Prompt, { kind: "text" }> | ChatInput;
  readonly addsSpecialTokens: boolean;
}

/** Which text ids have. */
export interface DetokenizeRequest {
  /** null: the base. */
  readonly model: string | null;
  readonly ids: readonly number[];
}
