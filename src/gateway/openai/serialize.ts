/** The OpenAI forms of an answer: chunks of a stream and whole answers, for completions and for chat. Pure functions of parts. */
import type { Tokenizer } from "../../text/types.js";
import type { Choice, ChoicePart, Extras, Usage } from "../parts.js";
import {
  type ChatLogprobs,
  type CompletionLogprobs,
  chatLogprobs,
  completionLogprobs,
  type PromptLogprobs,
  promptLogprobs,
  type Spell,
  spellerOf,
} from "./logprobs.js";

export interface WireUsage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly total_tokens: number;
  /** Not yet known while an answer is made. */
  readonly prompt_tokens_details?: { readonly cached_tokens: number };
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
}

/** What vLLM says of a prompt: in the choice of a completion, beside the choices of a chat. */
interface PromptExtras {
  readonly prompt_token_ids?: readonly number[];
  readonly prompt_logprobs?: PromptLogprobs;
}

export interface CompletionChoice extends TokenIds, PromptExtras {
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
  /** The same as long as the base's weights, and the options that change its answers, are. */
  readonly system_fingerprint: string;
}

/**
 * One `data:` of a stream, or one WebSocket chunk. `usage` is there when it was asked for: null until the last chunk, or in
 * every chunk that of its choice so far.
 */
export interface WireChunk extends Head, PromptExtras {
  readonly object: "text_completion" | "chat.completion.chunk";
  readonly choices: readonly (CompletionChoice | ChatChunkChoice)[];
  readonly usage?: WireUsage | null;
  readonly lorikeet?: WireExtras;
}

export interface WireAnswer extends Head, PromptExtras {
  readonly object: "text_completion" | "chat.completion";
  readonly choices: readonly (CompletionChoice | ChatChoice)[];
  readonly usage: WireUsage;
}

export interface WireOptions extends Head {
  readonly kind: "completions" | "chat";
  readonly tokenizer: Tokenizer | null;
  readonly includeUsage: boolean;
  readonly continuousUsage: boolean;
  readonly hasLogprobs: boolean;
  readonly namesTokensById: boolean;
  readonly returnTokenIds: boolean;
  /** All choices have one prompt. */
  readonly hasOnePrompt: boolean;
}

/** What forms need besides a choice. */
interface Form extends WireOptions {
  readonly spell: Spell;
}

/** How one generation is spelled. */
export interface Wire {
  chunk(part: ChoicePart): WireChunk;
  usageChunk(usage: Usage, extras: Extras): WireChunk;
  answer(choices: readonly Choice[], usage: Usage): WireAnswer;
}

export function wireOf(options: WireOptions): Wire {
  const { kind, id, created, model, system_fingerprint } = options;
  const form = { ...options, spell: spellerOf(options.tokenizer, options.namesTokensById) };
  const head = { id, created, model, system_fingerprint };
  const chunkObject = kind === "chat" ? "chat.completion.chunk" : "text_completion";
  const chunkForm = kind === "chat" ? chatChunk : completionChoice;
  return {
    chunk: (part) => ({
      ...head,
      object: chunkObject,
      choices: [chunkForm(form, part)],
      ...besideChoices(form, part),
      ...usageSoFar(options, part),
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
      choices: choices.map((choice) => (kind === "chat" ? chatChoice : completionChoice)(form, choice)),
      ...(choices[0] ? besideChoices(form, choices[0]) : {}),
      usage: wireUsage(usage),
    }),
  };
}

export function wireUsage(usage: Usage): WireUsage & Required<Pick<WireUsage, "prompt_tokens_details">> {
  return { ...countsOf(usage), prompt_tokens_details: { cached_tokens: usage.cachedTokens } };
}

function countsOf({ promptTokens, completionTokens }: Usage): WireUsage {
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
  };
}

function usageSoFar({ includeUsage, continuousUsage }: WireOptions, { usage }: ChoicePart): Pick<WireChunk, "usage"> {
  if (continuousUsage) return { usage: countsOf(usage) };
  return includeUsage ? { usage: null } : {};
}

/** The prompt's ids where there is one prompt, and for a chat all that is said of it. Once in a stream: with the first choice. */
function besideChoices(form: Form, { index, promptIds, promptLogprobs: entries }: Choice): PromptExtras {
  if (index > 0 || !form.hasOnePrompt) return {};
  return {
    ...(promptIds ? { prompt_token_ids: promptIds } : {}),
    ...(form.kind === "chat" ? logprobsOfPrompt(form, entries) : {}),
  };
}

function logprobsOfPrompt(form: Form, entries: Choice["promptLogprobs"]): Pick<PromptExtras, "prompt_logprobs"> {
  return entries ? { prompt_logprobs: promptLogprobs(form.spell, entries) } : {};
}

export function wireExtras(extras: Extras): WireExtras {
  return {
    adapter: extras.adapter,
    digest: extras.digest,
    queue_ms: rounded(extras.queueMs),
    time_to_first_token_ms: extras.timeToFirstTokenMs === null ? null : rounded(extras.timeToFirstTokenMs),
  };
}

function completionChoice(form: Form, choice: Choice): CompletionChoice {
  return {
    index: choice.index,
    text: choice.text,
    logprobs: form.hasLogprobs ? completionLogprobs(form.spell, choice.tokens) : null,
    finish_reason: choice.finish,
    ...tokenIds(form, choice),
    ...(choice.promptIds ? { prompt_token_ids: choice.promptIds } : {}),
    ...logprobsOfPrompt(form, choice.promptLogprobs),
  };
}

function chatChunk(form: Form, part: ChoicePart): ChatChunkChoice {
  const role = part.isFirst ? { role: "assistant" as const, content: part.text } : {};
  return {
    index: part.index,
    delta: part.text === "" ? role : { ...role, content: part.text },
    logprobs: form.hasLogprobs && part.tokens.length > 0 ? chatLogprobs(form.spell, form.tokenizer, part.tokens) : null,
    finish_reason: part.finish,
    ...tokenIds(form, part),
  };
}

function chatChoice(form: Form, choice: Choice): ChatChoice {
  return {
    index: choice.index,
    message: { role: "assistant", content: choice.text, refusal: null },
    logprobs: form.hasLogprobs ? chatLogprobs(form.spell, form.tokenizer, choice.tokens) : null,
    finish_reason: choice.finish,
    ...tokenIds(form, choice),
  };
}

function tokenIds({ returnTokenIds }: Form, { tokens, echoedTokens }: Choice): TokenIds {
  return returnTokenIds ? { token_ids: tokens.slice(echoedTokens).map((piece) => piece.id) } : {};
}

function rounded(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}
