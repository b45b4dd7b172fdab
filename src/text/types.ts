/** The interface of tokenizers: text to token ids and back, and chats. */

import type { LorikeetError } from "../base/errors.js";
import type { ToolCall } from "./tools/types.js";

export interface ChatMessage {
  readonly role: string;
  /** "" for an assistant's message that only calls. */
  readonly content: string;
  readonly name?: string;
  /** An assistant's reasoning, which templates read as `reasoning_content`. */
  readonly reasoning?: string;
  /** An assistant's calls. The arguments are the JSON text of an object, which templates read as that object. */
  readonly toolCalls?: readonly ToolCall[];
  /** The call that a tool's message answers. */
  readonly toolCallId?: string;
}

/** The variables of a chat template besides the messages. */
export interface RenderOptions {
  readonly addGenerationPrompt: boolean;
  /** Ends the text with the last message's content, so that the model continues that message. Default false. */
  readonly continueFinalMessage?: boolean | undefined;
  /** OpenAI's objects; see `templateTool`. */
  readonly tools?: readonly unknown[] | null | undefined;
  readonly documents?: readonly unknown[] | null | undefined;
  /** Further variables by name (`chat_template_kwargs`). They hide special tokens of the same name, never the fields above. */
  readonly kwargs?: Readonly<Record<string, unknown>> | undefined;
}

export interface EncodeOptions {
  /** false for text that a chat template rendered. */
  readonly addSpecialTokens: boolean;
  /** The text continues other text: a tokenizer that marks word starts puts no mark in front of it. */
  readonly continues?: boolean | undefined;
  /** Cancels the encoding; it rejects with `cancelled`. */
  readonly signal?: AbortSignal | undefined;
  /** The client's connection: long texts of different connections take turns. */
  readonly connection?: object | undefined;
}

export interface DecodeOptions {
  readonly keepSpecialTokens?: boolean | undefined;
  /** The preceding ids: the text continues theirs, so its first word keeps its space. */
  readonly after?: readonly number[] | undefined;
}

export interface Tokenizer {
  readonly vocabSize: number;
  /** `addSpecialTokens` false for text that a chat template rendered. Asynchronous: long text is encoded off the event loop. */
  encode(text: string, options: EncodeOptions): Promise<number[]>;
  /** The text of all ids; skips special tokens by default. */
  decode(ids: readonly number[], options?: DecodeOptions): string;
  /** The token as the vocabulary spells it, with byte-level spelling decoded as far as it is valid UTF-8; for logprobs. */
  tokenText(id: number): string;
  /** The token exactly as the vocabulary spells it, such as `Ġof` or `▁of`; "" for an id without a token. */
  vocabularyText(id: number): string;
  /** The token's bytes; for logprobs. */
  tokenBytes(id: number): readonly number[];
  /** The text of a special token; null for every other token. */
  specialText(id: number): string | null;
  /** null if the model has no template. */
  readonly chatTemplate: string | null;
  /** The template of chats with tools, where the model has another for them. */
  readonly toolTemplate?: string | null;
  /** Renders a chat as text. Throws `invalid_value` if the template raises, `chat_template_missing` if there is none. */
  renderChat(messages: readonly ChatMessage[], options: RenderOptions): string;
  /**
   * A streaming decoder that never splits a character. With the ids of a prompt it continues them, so that the first token keeps
   * its leading space (text completions); without, it starts a new text (an assistant's message). Skips special tokens by
   * default.
   */
  stream(after?: readonly number[], options?: { readonly keepSpecialTokens?: boolean }): TextStream;
}

/** The result of `loadTokenizer`: a tokenizer that owns a worker thread once it has encoded a long text. */
export interface LoadedTokenizer extends Tokenizer {
  /** The id of bos_token; null if the model has none. */
  readonly bosTokenId: number | null;
  readonly eosTokenId: number | null;
  /** The error of an invalid template, which `renderChat` throws; null if there is none. */
  readonly templateFault: LorikeetError | null;
  /** Terminates the worker. Texts still being encoded, and later ones, are rejected with `cancelled`. */
  close(): Promise<void>;
}

/** Decodes a stream of ids. `push` returns the text that is final so far (maybe ""), `flush` the rest. */
export interface TextStream {
  push(id: number): string;
  flush(): string;
}
