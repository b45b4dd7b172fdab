/** A tokenizer for tests: one id a byte, then a beginning, an end and a special token. */
import { compileTemplate } from "../../src/text/chat/template.js";
import type { ChatMessage, RenderOptions, TextStream, Tokenizer } from "../../src/text/types.js";

export const bosId = 256;
export const eosId = 257;
export const vocabSize = 258;

export interface ByteTokenizerOptions {
  readonly chatTemplate?: string | null;
  readonly addsBos?: boolean;
}

/** Its chat template is `role: content\n` a message and `assistant: ` at the end, unless the options have one. */
export function byteTokenizer(options: ByteTokenizerOptions = {}): Tokenizer & { encoded: number } {
  const render = options.chatTemplate
    ? compileTemplate({ text: options.chatTemplate, origin: "template" }, new Map())
    : null;
  const tokenizer = {
    /** How many texts were encoded. */
    encoded: 0,
    vocabSize,
    chatTemplate: options.chatTemplate === undefined ? "bytes" : options.chatTemplate,
    encode: async (text: string, { addSpecialTokens }: { addSpecialTokens: boolean }): Promise<number[]> => {
      tokenizer.encoded++;
      const bytes = [...Buffer.from(text)];
      return addSpecialTokens && options.addsBos ? [bosId, ...bytes] : bytes;
    },
    decode: (ids: readonly number[]) => Buffer.from(ids.filter((id) => id < 256)).toString(),
    tokenText: (id: number) => (id < 256 ? Buffer.from([id]).toString() : id === bosId ? "<s>" : "</s>"),
    vocabularyText: (id: number) => (id < 256 ? `<${id}>` : id === bosId ? "<s>" : "</s>"),
    tokenBytes: (id: number) => (id < 256 ? [id] : [...Buffer.from(id === bosId ? "<s>" : "</s>")]),
    renderChat: (messages: readonly ChatMessage[], renderOptions: RenderOptions) =>
      render?.(messages, renderOptions.addGenerationPrompt, renderOptions) ??
      messages.map(({ role, content }) => `${role}: ${content}\n`).join("") +
        (renderOptions.addGenerationPrompt ? "assistant: " : ""),
    specialText: (id: number) => (id < 256 ? null : id === bosId ? "<s>" : "</s>"),
    stream: (_after?: readonly number[], options?: { readonly keepSpecialTokens?: boolean }) =>
      byteStream(options?.keepSpecialTokens ?? false),
  };
  return tokenizer;
}

function byteStream(keepSpecialTokens: boolean): TextStream {
  let decoder = new TextDecoder();
  return {
    push: (id) => {
      if (id < 256) return decoder.decode(Uint8Array.of(id), { stream: true });
      return keepSpecialTokens ? (id === bosId ? "<s>" : "</s>") : "";
    },
    flush: () => {
      const rest = decoder.decode();
      decoder = new TextDecoder();
      return rest;
    },
  };
}

/** One whose every new token is a page of text: it fills a reader's buffers in a few hundred tokens. */
export function wideTokenizer(): Tokenizer {
  return { ...byteTokenizer(), stream: () => ({ push: () => "a".repeat(pageCharacters), flush: () => "" }) };
}

export const pageCharacters = 8192;
