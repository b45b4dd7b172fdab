/** The text side's door: strings to token ids and back. Knows nothing of tensors. */

import type { LorikeetError } from "../base/errors.js";

export interface ChatMessage {
  readonly role: string;
  readonly content: string;
  readonly name?: string;
}

/** What a chat template gets besides the messages. */
export interface RenderOptions {
  readonly addGenerationPrompt: boolean;
  /** Ends the text with the last message's content, so that the model continues that message. Default false. */
  readonly continueFinalMessage?: boolean | undefined;
  readonly tools?: readonly unknown[] | null | undefined;
  readonly documents?: readonly unknown[] | null | undefined;
  /** Further variables by name (`chat_template_kwargs`). They hide special tokens of the same name, never the fields above. */
  readonly kwargs?: Readonly<Record<string, unknown>> | undefined;
}

export interface EncodeOptions {
  /** false for text that a chat template rendered. */
  readonly addSpecialTokens: boolean;
  /** The text goes on behind other text: a tokenizer that marks the starts of words puts no mark in front of it. */
  readonly continues?: boolean | undefined;
  /** Gives up a text that waits for its turn; rejects with `cancelled`. */
  readonly signal?: AbortSignal | undefined;
  /** Whose text it is: long texts of different connections take turns. */
  readonly connection?: object | undefined;
}

export interface DecodeOptions {
  readonly keepSpecialTokens?: boolean | undefined;
  /** The ids that stand before: the text goes on behind theirs, so its first word keeps its space. */
  readonly after?: readonly number[] | undefined;
}

export interface Tokenizer {
  readonly vocabSize: number;
  /** `addSpecialTokens` false for text that a chat template rendered. Asynchronous: long text is encoded off the event loop. */
  encode(text: string, options: EncodeOptions): Promise<number[]>;
  /** All the ids at once; special tokens are left out unless asked for. */
  decode(ids: readonly number[], options?: DecodeOptions): string;
  /** The token as the vocabulary spells it, with byte-level spelling undone as far as it is valid UTF-8; for logprobs. */
  tokenText(id: number): string;
  /** The token exactly as the vocabulary spells it, `Ġof` or `▁of` where that is its way; "" for an id without a token. */
  vocabularyText(id: number): string;
  /** The bytes that the token stands for; for logprobs. */
  tokenBytes(id: number): readonly number[];
  /** The text of a special token; null for every other token. */
  specialText(id: number): string | null;
  /** null when the model has no template. */
  readonly chatTemplate: string | null;
  /** Throws `invalid_value` when the template raises, `chat_template_missing` when there is none. */
  renderChat(messages: readonly ChatMessage[], options: RenderOptions): string;
  /**
   * A decoder of one stream that never splits a character. With the ids of a prompt it goes on behind them, so that a first
   * token keeps its leading space (text completions); without, it begins a text of its own (an assistant's message).
   * Special tokens are left out unless asked for.
   */
  stream(after?: readonly number[], options?: { readonly keepSpecialTokens?: boolean }): TextStream;
}

/** What `loadTokenizer` gives: a tokenizer that holds a worker thread once long text was encoded. */
export interface LoadedTokenizer extends Tokenizer {
  /** The id of bos_token, null where the model names none. */
  readonly bosTokenId: number | null;
  readonly eosTokenId: number | null;
  /** Why no chat can be rendered, where there is a template that is wrong. `renderChat` throws it. */
  readonly templateFault: LorikeetError | null;
  /** Ends the worker. Texts still being encoded, and any later ones, are rejected with `cancelled`. */
  close(): Promise<void>;
}

/** Turns a stream of ids into text. `push` returns what is certain by now (maybe ""); `flush` the rest. */
export interface TextStream {
  push(id: number): string;
  flush(): string;
}
