/** The tokenizers that the text tests share: one of each kind that the families use, with the results of Hugging Face's libraries. */

import { readFileSync } from "node:fs";
import { loadTokenizer, type TokenizerOptions } from "../../src/text/tokenizer/tokenizer.js";
import type { ChatMessage, LoadedTokenizer } from "../../src/text/types.js";

export const families = [
  "bookworm",
  "gemma",
  "gpt2",
  "llama2",
  "llama3",
  "metaspace",
  "mistral",
  "phi3",
  "prefixed",
  "qwen2",
] as const;

export type Family = (typeof families)[number];

/** Families whose unknown characters are spelled as `<0xE2>` tokens. */
export const fallbackFamilies: readonly Family[] = ["gemma", "llama2", "mistral", "phi3"];

export const directoryOf = (family: Family): string =>
  family === "bookworm" ? "models/bookworm-7m" : `test/fixtures/text/${family}`;

export interface Expected {
  readonly size: number;
  readonly encode: readonly { readonly text: string; readonly ids: number[]; readonly full: number[] }[];
  readonly decode: readonly { readonly ids: number[]; readonly text: string; readonly keep: string }[];
  readonly chats: readonly {
    readonly messages: readonly ChatMessage[];
    readonly addGenerationPrompt: boolean;
    readonly text?: string;
    readonly ids?: number[];
    readonly raises?: string;
  }[];
}

export const expectedOf = (family: Family): Expected =>
  JSON.parse(readFileSync(`test/fixtures/text/${family}/expected.json`, "utf8"));

export async function load(family: Family, options: TokenizerOptions = {}): Promise<LoadedTokenizer> {
  const tokenizer = await loadTokenizer(directoryOf(family), options);
  if (!tokenizer) throw new Error(`${directoryOf(family)} has no tokenizer.json`);
  return tokenizer;
}
