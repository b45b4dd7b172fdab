/** The text side's door: strings to token ids and back. Knows nothing of tensors. */

export interface ChatMessage {
  readonly role: string;
  readonly content: string;
  readonly name?: string;
}

export interface Tokenizer {
  readonly vocabSize: number;
  /** `addSpecialTokens` false for text that a chat template rendered. Asynchronous: long text is encoded off the event loop. */
  encode(text: string, options: { readonly addSpecialTokens: boolean }): Promise<number[]>;
  /** All the ids at once; special tokens are left out unless asked for. */
  decode(ids: readonly number[], options?: { readonly keepSpecialTokens?: boolean }): string;
  /** The token as the vocabulary spells it, with byte-level spelling undone as far as it is valid UTF-8; for logprobs. */
  tokenText(id: number): string;
  /** The bytes that the token stands for; for logprobs. */
  tokenBytes(id: number): readonly number[];
  /** null when the model has no template. Rejects with `invalid_value` when the template raises. */
  readonly chatTemplate: string | null;
  renderChat(messages: readonly ChatMessage[], options: { readonly addGenerationPrompt: boolean }): string;
  /** A decoder of one stream that never splits a character. */
  stream(): TextStream;
}

/** Turns a stream of ids into text. `push` returns what is certain by now (maybe ""); `flush` the rest. */
export interface TextStream {
  push(id: number): string;
  flush(): string;
}
