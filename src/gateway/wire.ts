/** The OpenAI forms of an answer: chunks of a stream and whole answers, for completions and for chat. Pure functions of parts. */
import type { Tokenizer } from "../text/types.js";
import { type ChatLogprobs, type CompletionLogprobs, chatLogprobs, completionLogprobs } from "./logprob-form.js";
import type { Choice, ChoicePart, Extras, Usage } from "./parts.js";

export interface WireUsage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly total_tokens: number;
  readonly prompt_tokens_details: { readonly cached_tokens: number };
}

export interface WireExtras {
  readonly adapter: string | null;
  readonly digest: string | null;
  readonly queue_ms: number;
  readonly time_to_first_token_ms: number | null;
}

type Finish = "stop" | "length" | null;

interface TokenIds {
  readonly token_ids?: readonly number[];
  readonly prompt_token_ids?: readonly number[];
}

export interface CompletionChoice extends TokenIds {
  readonly index: number;
  readonly text: string;
  readonly logprobs: CompletionLogprobs | null;
  readonly finish_reason: Finish;
}

export interface ChatChunkChoice extends TokenIds {
  readonly index: number;
  readonly delta: { readonly role?: "assistant"; readonly content?: string };
  readonly logprobs: ChatLogprobs | null;
  readonly finish_reason: Finish;
}

export interface ChatChoice extends TokenIds {
  readonly index: number;
  readonly message: { readonly role: "assistant"; readonly content: string; readonly refusal: null };
  readonly logprobs: ChatLogprobs | null;
  readonly finish_reason: Finish;
}

interface Head {
  readonly id: string;
  readonly created: number;
  readonly model: string;
}

/** One `data:` of a stream, or one WebSocket chunk. `usage` is there (null until the last) when it was asked for. */
export interface WireChunk extends Head {
  readonly object: "text_completion" | "chat.completion.chunk";
  readonly choices: readonly (CompletionChoice | ChatChunkChoice)[];
  readonly usage?: WireUsage | null;
  readonly lorikeet?: WireExtras;
}

export interface WireAnswer extends Head {
  readonly object: "text_completion" | "chat.completion";
  readonly choices: readonly (CompletionChoice | ChatChoice)[];
  readonly usage: WireUsage;
}

export interface WireOptions extends Head {
  readonly kind: "completions" | "chat";
  readonly tokenizer: Tokenizer | null;
  readonly includeUsage: boolean;
  readonly hasLogprobs: boolean;
  readonly returnTokenIds: boolean;
}

/** How one generation is spelled. */
export interface Wire {
  chunk(part: ChoicePart): WireChunk;
  usageChunk(usage: Usage, extras: Extras): WireChunk;
  answer(choices: readonly Choice[], usage: Usage): WireAnswer;
}

export function wireOf(options: WireOptions): Wire {
  const { kind, includeUsage } = options;
  const head = { id: options.id, created: options.created, model: options.model };
  const chunkObject = kind === "chat" ? "chat.completion.chunk" : "text_completion";
  const form = kind === "chat" ? chatChunk : completionChoice;
  return {
    chunk: (part) => ({
      ...head,
      object: chunkObject,
      choices: [form(options, part)],
      ...(includeUsage ? { usage: null } : {}),
    }),
    usageChunk: (usage, extras) => ({
      ...head,
      object: chunkObject,
      choices: [],
      usage: wireUsage(usage),
      lorikeet: wireExtras(extras),
    }),
    answer: (choices, usage) => ({
      ...head,
      object: kind === "chat" ? "chat.completion" : "text_completion",
      choices: choices.map((choice) => (kind === "chat" ? chatChoice : completionChoice)(options, choice)),
      usage: wireUsage(usage),
    }),
  };
}

export function wireUsage(usage: Usage): WireUsage {
  return {
    prompt_tokens: usage.promptTokens,
    completion_tokens: usage.completionTokens,
    total_tokens: usage.promptTokens + usage.completionTokens,
    prompt_tokens_details: { cached_tokens: usage.cachedTokens },
  };
}

export function wireExtras(extras: Extras): WireExtras {
  return {
    adapter: extras.adapter,
    digest: extras.digest,
    queue_ms: rounded(extras.queueMs),
    time_to_first_token_ms: extras.timeToFirstTokenMs === null ? null : rounded(extras.timeToFirstTokenMs),
  };
}

function completionChoice(options: WireOptions, choice: Choice): CompletionChoice {
  const { tokenizer, hasLogprobs } = options;
  return {
    index: choice.index,
    text: choice.text,
    logprobs: hasLogprobs ? completionLogprobs(tokenizer, choice.tokens) : null,
    finish_reason: choice.finish,
    ...tokenIds(options, choice),
  };
}

function chatChunk(options: WireOptions, part: ChoicePart): ChatChunkChoice {
  const role = part.isFirst ? { role: "assistant" as const, content: part.text } : {};
  return {
    index: part.index,
    delta: part.text === "" ? role : { ...role, content: part.text },
    logprobs: options.hasLogprobs && part.tokens.length > 0 ? chatLogprobs(options.tokenizer, part.tokens) : null,
    finish_reason: part.finish,
    ...tokenIds(options, part),
  };
}

function chatChoice(options: WireOptions, choice: Choice): ChatChoice {
  return {
    index: choice.index,
    message: { role: "assistant", content: choice.text, refusal: null },
    logprobs: options.hasLogprobs ? chatLogprobs(options.tokenizer, choice.tokens) : null,
    finish_reason: choice.finish,
    ...tokenIds(options, choice),
  };
}

function tokenIds(options: WireOptions, choice: Choice): TokenIds {
  if (!options.returnTokenIds) return {};
  const ids = { token_ids: choice.tokens.slice(choice.echoedTokens).map((piece) => piece.id) };
  return choice.promptIds ? { ...ids, prompt_token_ids: choice.promptIds } : ids;
}

function rounded(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}
