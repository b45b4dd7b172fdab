/** A dry run of a model's chat template: what it makes of a small chat, or why it makes nothing. */

import { LorikeetError } from "../base/errors.js";
import { loadTokenizer } from "../text/tokenizer/tokenizer.js";
import type { ChatMessage, Tokenizer } from "../text/types.js";

export interface SampleChat {
  /** The rendered chat; null where there is none. */
  readonly text: string | null;
  /** Why there is none, in a sentence. */
  readonly reason: string | null;
  /** Why the template refuses a system message; null where it takes one, or was not asked. */
  readonly systemRefusal: string | null;
}

const chat: readonly ChatMessage[] = [
  { role: "user", content: "Hello." },
  { role: "assistant", content: "Hello! How can I help?" },
  { role: "user", content: "Say one word." },
];
const system: ChatMessage = { role: "system", content: "Be brief." };

/** Never throws for a template, a tokenizer or their files: what is wrong with them is the result. */
export async function renderSampleChat(directory: string, chatTemplateFile: string | undefined): Promise<SampleChat> {
  try {
    const tokenizer = await loadTokenizer(directory, { chatTemplateFile });
    if (!tokenizer) return without("The model has no tokenizer.json: it serves token ids, and no chats.");
    try {
      return sampleOf(tokenizer);
    } finally {
      await tokenizer.close();
    }
  } catch (error) {
    return without(sentenceOf(error));
  }
}

function sampleOf(tokenizer: Tokenizer): SampleChat {
  if (tokenizer.chatTemplate === null) {
    return without("The model has no chat template; one can be given with --chat-template <file>.");
  }
  const text = tokenizer.renderChat(chat, { addGenerationPrompt: true });
  try {
    tokenizer.renderChat([system, ...chat], { addGenerationPrompt: true });
    return { text, reason: null, systemRefusal: null };
  } catch (error) {
    return { text, reason: null, systemRefusal: sentenceOf(error) };
  }
}

const without = (reason: string): SampleChat => ({ text: null, reason, systemRefusal: null });

function sentenceOf(error: unknown): string {
  if (error instanceof LorikeetError) return error.message;
  throw error;
}
