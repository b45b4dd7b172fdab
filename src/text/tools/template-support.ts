/** What a chat template would drop without a word. */
import type { ChatMessage } from "../types.js";

export interface Dropped {
  /** The request's part that is dropped. */
  readonly what: "tools" | "messages";
  /** The rest of a sentence after "The chat template". */
  readonly reason: string;
}

/** null: nothing, as far as the template's text shows. */
export function droppedByTemplate(
  template: string,
  hasTools: boolean,
  messages: readonly ChatMessage[],
): Dropped | null {
  if (hasTools && !/\b(xml_)?tools\b/.test(template)) return { what: "tools", reason: "does not render `tools`" };
  if (messages.some(({ toolCalls }) => toolCalls !== undefined) && !/\btool_calls\b/.test(template)) {
    return { what: "messages", reason: "does not render the `tool_calls` of messages" };
  }
  if (messages.some(({ role }) => role === "tool") && !/tool/.test(template)) {
    return { what: "messages", reason: "does not render messages with the `role` tool" };
  }
  return null;
}
