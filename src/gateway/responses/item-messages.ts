/** The messages that items stand for, as chat templates render them. */
import type { ToolCall } from "../../text/tools/types.js";
import type { ChatMessage } from "../../text/types.js";
import { withToolNames } from "../openai/message-input.js";
import type { FunctionOutput, InputMessage, Item, OutputItem } from "./items.js";

/** One turn of the assistant: its reasoning, its text and its calls, in this order. */
interface Turn {
  reasoning: string | null;
  text: string | null;
  readonly calls: ToolCall[];
}

/** Items of the assistant that follow each other are one message, as long as they come in the order of a turn. */
export function messagesOf(items: readonly Item[]): readonly ChatMessage[] {
  const messages: ChatMessage[] = [];
  let turn: Turn | null = null;
  const end = (): void => {
    if (turn) messages.push(messageOf(turn));
    turn = null;
  };
  for (const item of items) {
    if (!isOutput(item)) {
      end();
      messages.push(inputMessage(item));
      continue;
    }
    if (turn && startsTurn(item, turn)) end();
    turn ??= { reasoning: null, text: null, calls: [] };
    add(turn, item);
  }
  end();
  return withToolNames(messages);
}

function isOutput(item: Item): item is OutputItem {
  return item.type === "message" ? item.role === "assistant" : item.type !== "function_call_output";
}

function startsTurn(item: OutputItem, { text, calls }: Turn): boolean {
  if (item.type === "function_call") return false;
  return text !== null || calls.length > 0;
}

function add(turn: Turn, item: OutputItem): void {
  if (item.type === "function_call") {
    turn.calls.push({ id: item.call_id, name: item.name, arguments: item.arguments });
    return;
  }
  const text = joined(item.content);
  if (item.type === "message") turn.text = text;
  else if (text !== "") turn.reasoning = turn.reasoning === null ? text : `${turn.reasoning}\n${text}`;
}

function messageOf({ reasoning, text, calls }: Turn): ChatMessage {
  return {
    role: "assistant",
    content: text ?? "",
    ...(reasoning === null ? {} : { reasoning }),
    ...(calls.length === 0 ? {} : { toolCalls: calls }),
  };
}

function inputMessage(item: InputMessage | FunctionOutput): ChatMessage {
  if (item.type === "function_call_output") return { role: "tool", content: item.output, toolCallId: item.call_id };
  return { role: item.role === "developer" ? "system" : item.role, content: joined(item.content) };
}

const joined = (parts: readonly { readonly text: string }[]): string => parts.map(({ text }) => text).join("\n");
