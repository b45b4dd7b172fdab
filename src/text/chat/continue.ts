/** Renders a chat whose last message is to be continued: the text ends where that message's content ends. */

import { LorikeetError } from "../../base/errors.js";
import type { ChatMessage } from "../types.js";

/** The space at its end tells whether a template trims contents, as in transformers. */
const mark = "CONTINUE_FINAL_MESSAGE_TAG ";

/**
 * Renders the chat with a mark after the last message's content and cuts the text there.
 * @throws LorikeetError `invalid_value` if there is no message, or the template drops or rewrites the last one's content.
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
