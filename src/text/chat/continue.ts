/** A chat whose last message is not finished: its text ends where that message ends. Knows no template language. */

import { LorikeetError } from "../../base/errors.js";
import type { ChatMessage } from "../types.js";

/** The blank at its end tells a template that trims contents from one that keeps them, as in transformers. */
const mark = "CONTINUE_FINAL_MESSAGE_TAG ";

/**
 * Renders the chat with a mark behind the last message's content and cuts the text there.
 * @throws LorikeetError `invalid_value` when there is no last message, or the template drops or rewrites its content.
 */
export function continueFinalMessage(
  messages: readonly ChatMessage[],
  render: (messages: readonly ChatMessage[]) => string,
): string {
  const last = messages.at(-1);
  if (last === undefined) throw refusal("there is no message");
  const text = render([...messages.slice(0, -1), { ...last, content: last.content + mark }]);
  const cut = text.lastIndexOf(mark.trimEnd());
  if (cut < 0 || !text.includes(last.content.trim())) {
    throw refusal("the chat template leaves out or rewrites the last message");
  }
  const whole = text.slice(0, cut);
  return text.startsWith(mark, cut) ? whole : whole.trimEnd();
}

const refusal = (reason: string): LorikeetError =>
  new LorikeetError("invalid_value", `The last message cannot be continued: ${reason}.`, {
    param: "continue_final_message",
  });
