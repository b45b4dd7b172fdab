/** Requests as parsed by a protocol. Inside the gateway these types are trusted. */
import type { GrammarSource } from "../grammar/source.js";
import type { Tool } from "../text/tools/types.js";
import type { ChatMessage, RenderOptions } from "../text/types.js";

/** Sampling as requested; null for what the request omits. */
export interface SamplingInput {
  readonly temperature: number | null;
  readonly topK: number | null;
  readonly topP: number | null;
  readonly minP: number | null;
  readonly repetitionPenalty: number | null;
  readonly presencePenalty: number | null;
  readonly frequencyPenalty: number | null;
  readonly logitBias: ReadonlyMap<number, number>;
  /** null: every token is allowed. */
  readonly allowedIds: readonly number[] | null;
  readonly seed: number | null;
}

/** Which tokens of a prompt to keep. */
export interface Truncation {
  /** -1: as many as fit. */
  readonly tokens: number;
  /** The side to cut. */
  readonly side: "left" | "right";
}

/** One adapter of a mixture, as named in a request. */
export interface WeightedAdapter {
  readonly name: string;
  readonly weight: number;
  /** The parameter that names it, for faults. */
  readonly param: string;
}

/** What a protocol calls parameters that others call otherwise. */
export interface ParamNames {
  readonly model: string;
  readonly prompt: string;
  readonly maxTokens: string;
}

interface CommonRequest {
  /** For faults. Default: OpenAI's names. */
  readonly params?: ParamNames;
  /** null: the base. */
  readonly model: string | null;
  /** The adapters whose weighted sum answers. Empty: `model` alone; otherwise `model` is the base. */
  readonly adapters: readonly WeightedAdapter[];
  /** Whether the answer is streamed. */
  readonly stream: boolean;
  readonly choices: number;
  /** null: the model's default, or else `defaultMaxTokens`. */
  readonly maxTokens: number | null;
  /** Whether `maxTokens` is reduced to what the context has room for, instead of being refused. */
  readonly shortensToFit: boolean;
  /** The endpoint's default, as far as the context has room; null: as many as fit. */
  readonly defaultMaxTokens: number | null;
  /** Before this many tokens no stop ends the answer. */
  readonly minTokens: number;
  readonly stops: readonly string[];
  readonly stopTokenIds: readonly number[];
  /** Whether the text includes the stop that ended it. */
  readonly includesStop: boolean;
  readonly sampling: SamplingInput;
  readonly ignoreEos: boolean;
  readonly keepsSpecialTokens: boolean;
  readonly addsSpecialTokens: boolean;
  readonly truncation: Truncation | null;
  /** null: none. k: those of the prompt's tokens and the k best alternatives'. */
  readonly promptLogprobs: number | null;
  /** The grammar of the answer; null: none. The answer ends when its text is complete, and no stop ends it earlier. */
  readonly grammar: GrammarSource | null;
  readonly returnTokenIds: boolean;
  /** null: none. k: each token's and the k best alternatives'. */
  readonly logprobs: number | null;
}

export type Prompt =
  | {
      readonly kind: "text";
      readonly text: string;
      /** The token of what it is written in, in place of the tokenizer's own. */
      readonly languageId?: number;
    }
  | { readonly kind: "ids"; readonly ids: readonly number[] };

export interface CompletionRequest extends CommonRequest {
  readonly kind: "completions";
  readonly prompts: readonly Prompt[];
  readonly echo: boolean;
  /** The answer's first token, such as that of its language. Default: the model's own, or free. */
  readonly firstId?: number;
}

/** Whether an answer calls: as the model decides, never, at least once, or this function once. */
export type ToolChoice =
  | { readonly kind: "auto" | "none" | "required" }
  | { readonly kind: "function"; readonly name: string };

/** Functions that an answer may call. */
export interface ToolInput {
  /** At least one. With the choice `none` the model does not see them. */
  readonly tools: readonly Tool[];
  readonly choice: ToolChoice;
  /** false: at most one call. */
  readonly parallel: boolean;
}

/** A chat, and how to render it. */
export interface ChatInput {
  readonly messages: readonly ChatMessage[];
  readonly template: Omit<RenderOptions, "tools">;
  /** null: none. */
  readonly tools: ToolInput | null;
}

export interface ChatRequest extends CommonRequest, ChatInput {
  readonly kind: "chat";
  /** Whether the oldest turns are dropped if the chat is too long. Default: false. */
  readonly dropsOldestTurns?: boolean;
}

export type GenerationRequest = CompletionRequest | ChatRequest;

/** The names of a request's parameters, for faults. */
export function paramsOf({ kind, params }: GenerationRequest): ParamNames {
  return params ?? { model: "model", prompt: kind === "chat" ? "messages" : "prompt", maxTokens: "max_tokens" };
}

/** A request for the ids of a text or chat. */
export interface TokenizeRequest {
  /** null: the base. */
  readonly model: string | null;
  readonly input: Extract<Prompt, { kind: "text" }> | ChatInput;
  readonly addsSpecialTokens: boolean;
}

/** A request for the text of ids. */
export interface DetokenizeRequest {
  /** null: the base. */
  readonly model: string | null;
  readonly ids: readonly number[];
}
