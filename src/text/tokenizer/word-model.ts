/** The interface of a tokenizer's model: one word of the pre-tokenizer to ids. */

export interface WordToken {
  readonly id: number;
  /** Where the token is in its word, in UTF-16 code units. */
  readonly begin: number;
  readonly end: number;
  /** What the token counts as where its own spelling does not tell, such as unknown text. */
  readonly text?: string;
}

export interface WordModel {
  encode(word: string): readonly number[];
  /** The same tokens with their places. */
  encodeTokens(word: string): readonly WordToken[];
}
