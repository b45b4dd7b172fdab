/** The OpenAI form of an answer: chunks of a stream and whole answers, for completions and for chat. */
import { randomUUID } from "node:crypto";
import { assert } from "../../base/errors.js";
import { type CallDelta, joinCalls, type ToolCall } from "../../text/tools/types.js";
import type { Tokenizer } from "../../text/types.js";
import type { Answer } from "../answer.js";
import type { RequestSummary } from "../observer.js";
import type { ChoicePart, Usage } from "../parts.js";
import type { OpenAiRequest } from "./common-request.js";
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

export interface UsageCounts {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly total_tokens: number;
  /** Not yet known while an answer is generated. */
  readonly prompt_tokens_details?: { readonly cached_tokens: number };
  /** Of answers whose reasoning is split off. */
  readonly completion_tokens_details?: { readonly reasoning_tokens: number };
}

/** What Lorikeet adds to usage. */
export interface LorikeetFields {
  readonly adapter: string | null;
  readonly digest: string | null;
  readonly queue_ms: number | null;
  readonly time_to_first_token_ms: number | null;
}

type Finish = ChoicePart["finish"];

interface TokenIds {
  readonly token_ids?: readonly number[];
}

/** vLLM's fields of a prompt: in the choice of a completion, next to the choices of a chat. */
interface PromptFields {
  readonly prompt_token_ids?: readonly number[];
  readonly prompt_logprobs?: PromptLogprobs;
}

export interface CompletionChoice extends TokenIds, PromptFields {
  readonly index: number;
  readonly text: string;
  readonly logprobs: CompletionLogprobs | null;
  readonly finish_reason: Finish;
}

interface ToolCallObject {
  readonly id: string;
  readonly type: "function";
  readonly function: { readonly name: string; readonly arguments: string };
}

/** The first delta of a call has its id, type and name. */
interface ToolCallDelta {
  readonly index: number;
  readonly id?: string;
  readonly type?: "function";
  readonly function: { readonly name?: string; readonly arguments: string };
}

export interface ChatChunkChoice extends TokenIds {
  readonly index: number;
  readonly delta: {
    readonly role?: "assistant";
    readonly content?: string;
    readonly reasoning_content?: string;
    readonly tool_calls?: readonly ToolCallDelta[];
  };
  readonly logprobs: ChatLogprobs | null;
  readonly finish_reason: Finish;
}

export interface ChatChoice extends TokenIds {
  readonly index: number;
  readonly message: {
    readonly role: "assistant";
    /** null where there is no text beside calls. */
    readonly content: string | null;
    readonly refusal: null;
    readonly reasoning_content?: string;
    readonly tool_calls?: readonly ToolCallObject[];
  };
  readonly logprobs: ChatLogprobs | null;
  readonly finish_reason: Finish;
}

/** The first fields of every chunk and of the whole answer. */
interface Head {
  readonly id: string;
  readonly created: number;
  readonly model: string;
  /** Changes only with the base's weights and with options that affect answers. */
  readonly system_fingerprint: string;
}

/** `usage` is present if requested: null until the last chunk, or in every chunk the usage of its choice so far. */
export interface AnswerChunk extends Head, PromptFields {
  readonly object: "text_completion" | "chat.completion.chunk";
  readonly choices: readonly (CompletionChoice | ChatChunkChoice)[];
  readonly usage?: UsageCounts | null;
  readonly lorikeet?: LorikeetFields;
}

export interface WholeAnswer extends Head, PromptFields {
  readonly object: "text_completion" | "chat.completion";
  readonly choices: readonly (CompletionChoice | ChatChoice)[];
  readonly usage: UsageCounts;
}

export interface SerializerContext {
  readonly tokenizer: Tokenizer | null;
  readonly fingerprint: string;
}

/** Writes one answer. */
export class Serializer {
  readonly #request: OpenAiRequest;
  readonly #isChat: boolean;
  readonly #head: Head;
  readonly #tokenizer: Tokenizer | null;
  readonly #spell: Spell;

  constructor({ request, model }: Answer<OpenAiRequest>, { tokenizer, fingerprint }: SerializerContext) {
    this.#request = request;
    this.#isChat = request.kind === "chat";
    this.#tokenizer = tokenizer;
    this.#spell = spellerOf(tokenizer, request.namesTokensById);
    this.#head = {
      id: `${this.#isChat ? "chatcmpl" : "cmpl"}-${randomUUID()}`,
      created: Math.floor(Date.now() / 1000),
      model,
      system_fingerprint: fingerprint,
    };
  }

  chunk(part: ChoicePart): AnswerChunk {
    return {
      ...this.#head,
      object: this.#chunkObject,
      choices: [this.#isChat ? this.#chatChunk(part) : this.#completionChoice(part)],
      ...this.#besideChoices(part),
      ...this.#usageSoFar(part),
    };
  }

  /** The last chunk, if usage was requested. */
  usageChunk(summary: RequestSummary): AnswerChunk {
    return {
      ...this.#head,
      object: this.#chunkObject,
      choices: [],
      usage: usageOf(summary),
      lorikeet: lorikeetOf(summary),
    };
  }

  whole(choices: readonly ChoicePart[], summary: RequestSummary): WholeAnswer {
    const [first] = choices;
    return {
      ...this.#head,
      object: this.#isChat ? "chat.completion" : "text_completion",
      choices: choices.map((choice) => (this.#isChat ? this.#chatChoice(choice) : this.#completionChoice(choice))),
      ...(first ? this.#besideChoices(first) : {}),
      usage: usageOf(summary),
    };
  }

  get #chunkObject(): AnswerChunk["object"] {
    return this.#isChat ? "chat.completion.chunk" : "text_completion";
  }

  #usageSoFar({ usage }: ChoicePart): Pick<AnswerChunk, "usage"> {
    if (this.#request.continuousUsage) return { usage: countsOf(usage) };
    return this.#request.includeUsage ? { usage: null } : {};
  }

  /** The prompt's ids if there is one prompt, and for a chat its other fields. Sent once in a stream, with the first choice. */
  #besideChoices({ index, promptIds, promptLogprobs: entries }: ChoicePart): PromptFields {
    const hasOnePrompt = this.#request.kind === "chat" || this.#request.prompts.length === 1;
    if (index > 0 || !hasOnePrompt) return {};
    return {
      ...(promptIds ? { prompt_token_ids: promptIds } : {}),
      ...(this.#isChat ? this.#logprobsOfPrompt(entries) : {}),
    };
  }

  #logprobsOfPrompt(entries: ChoicePart["promptLogprobs"]): Pick<PromptFields, "prompt_logprobs"> {
    return entries ? { prompt_logprobs: promptLogprobs(this.#spell, entries) } : {};
  }

  #completionChoice(choice: ChoicePart): CompletionChoice {
    return {
      index: choice.index,
      text: choice.text,
      logprobs: this.#hasLogprobs ? completionLogprobs(this.#spell, choice.tokens) : null,
      finish_reason: choice.finish,
      ...this.#tokenIds(choice),
      ...(choice.promptIds ? { prompt_token_ids: choice.promptIds } : {}),
      ...this.#logprobsOfPrompt(choice.promptLogprobs),
    };
  }

  #chatChunk(part: ChoicePart): ChatChunkChoice {
    const { text, reasoning, calls, isFirst } = part;
    return {
      index: part.index,
      delta: {
        ...(isFirst ? { role: "assistant" } : {}),
        ...(isFirst || text !== "" ? { content: text } : {}),
        ...(reasoning === "" ? {} : { reasoning_content: reasoning }),
        ...(calls.length === 0 ? {} : { tool_calls: calls.map(callDelta) }),
      },
      logprobs: part.tokens.length > 0 ? this.#chatLogprobs(part) : null,
      finish_reason: part.finish,
      ...this.#tokenIds(part),
    };
  }

  #chatChoice(choice: ChoicePart): ChatChoice {
    return {
      index: choice.index,
      message: messageOf(choice),
      logprobs: this.#chatLogprobs(choice),
      finish_reason: choice.finish,
      ...this.#tokenIds(choice),
    };
  }

  #chatLogprobs({ tokens }: ChoicePart): ChatLogprobs | null {
    return this.#hasLogprobs ? chatLogprobs(this.#spell, this.#tokenizer, tokens) : null;
  }

  get #hasLogprobs(): boolean {
    return this.#request.logprobs !== null;
  }

  #tokenIds({ tokens, echoedTokens }: ChoicePart): TokenIds {
    return this.#request.returnTokenIds ? { token_ids: tokens.slice(echoedTokens).map((piece) => piece.id) } : {};
  }
}

function messageOf({ text, reasoning, calls }: ChoicePart): ChatChoice["message"] {
  return {
    role: "assistant",
    content: text === "" && calls.length > 0 ? null : text,
    refusal: null,
    ...(reasoning === "" ? {} : { reasoning_content: reasoning }),
    ...(calls.length === 0 ? {} : { tool_calls: joinCalls(calls).map(callObject) }),
  };
}

const callObject = ({ id, name, arguments: json }: ToolCall): ToolCallObject => ({
  id,
  type: "function",
  function: { name, arguments: json },
});

function callDelta({ index, begin, arguments: json }: CallDelta): ToolCallDelta {
  if (begin === null) return { index, function: { arguments: json } };
  return { index, id: begin.id, type: "function", function: { name: begin.name, arguments: json } };
}

/** Of an answer that has ended without a fault. */
export function usageOf({ usage }: RequestSummary): UsageCounts {
  assert(usage, "an answer that was generated has its tokens counted");
  const { cachedTokens, reasoningTokens } = usage;
  return {
    ...countsOf(usage),
    prompt_tokens_details: { cached_tokens: cachedTokens },
    ...(reasoningTokens > 0 ? { completion_tokens_details: { reasoning_tokens: reasoningTokens } } : {}),
  };
}

function countsOf({ promptTokens, completionTokens }: Usage): UsageCounts {
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
  };
}

export function lorikeetOf({ adapter, digest, queueMs, timeToFirstTokenMs }: RequestSummary): LorikeetFields {
  return { adapter, digest, queue_ms: rounded(queueMs), time_to_first_token_ms: rounded(timeToFirstTokenMs) };
}

function rounded(ms: number | null): number | null {
  return ms === null ? null : Math.round(ms * 1000) / 1000;
}
