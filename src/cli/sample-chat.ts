/** Renders a small chat with a model's chat template, or says why that fails. */

import { LorikeetError } from "../base/errors.js";
import { loadTokenizer } from "../text/tokenizer/tokenizer.js";
import type { ChatMessage, Tokenizer } from "../text/types.js";

export interface SampleChat {
  /** The rendered chat; null if it could not be rendered. */
  readonly text: string | null;
  /** Why it could not be rendered, in a sentence. */
  readonly reason: string | null;
  /** Why the template rejects a system message; null if it accepts one, or was not tried. */
  readonly systemRefusal: string | null;
}

const chat: readonly ChatMessage[] = [
  { role: "user", content: "Hello." },
  { role: "assistant", content: "Hello! How can I help?" },
  { role: "user", content: "Say one word." },
];
const system: ChatMessage = { role: "system", content: "Be brief." };

/** Never throws for a broken template or tokenizer: the error is part of the result. */
export async function renderSampleChat(directory: string, chatTemplateFile: string | undefined): Promise<SampleChat> {
  try {
    const tokenizer = await loadTokenizer(directory, { chatTemplateFile });
    if (!tokenizer) return without("The model has no tokenizer.json: it takes token ids only, not chats.");
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
    return without("The model has no chat template; --chat-template <file> provides one.");
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
