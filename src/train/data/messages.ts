/** Chat messages of a row, in the format of OpenAI's fine-tuning files. */
import type { ChatMessage } from "../../text/types.js";
import { jsonIn, readCalls } from "./tools.js";

export interface ChatTurn extends ChatMessage {
  /** Whether the loss counts here: an assistant's turn whose weight is not 0. */
  readonly trained: boolean;
}

export const isMessageList = (value: unknown): value is readonly unknown[] => Array.isArray(value);

/** ShareGPT's names of the roles. */
const shareGptRoles: Readonly<Record<string, string>> = {
  system: "system",
  human: "user",
  user: "user",
  gpt: "assistant",
  chatgpt: "assistant",
  bing: "assistant",
  bard: "assistant",
  assistant: "assistant",
  model: "assistant",
};

/**
 * Converts ShareGPT's `{"from","value"}` to OpenAI's format: a `function_call` is an assistant's turn with the calls that its JSON text holds,
 * an `observation` the result of the first call that has none yet. Anything else is left for `readMessages` to reject.
 */
export function shareGptMessages(value: unknown): unknown {
  if (!Array.isArray(value)) return value;
  const open: string[] = [];
  let calls = 0;
  return value.map((message: unknown) => {
    if (typeof message !== "object" || message === null || !("from" in message)) return message;
    const { from, value: content, ...rest }: Record<string, unknown> = { ...message };
    const speaker = typeof from === "string" ? from.toLowerCase() : "";
    if (speaker === "function_call") {
      const tool_calls = callsIn(content).map((call) => ({ ...call, id: `call_${calls++}` }));
      open.push(...tool_calls.map(({ id }) => id));
      return { ...rest, role: "assistant", content: null, tool_calls };
    }
    if (speaker === "observation") {
      const answered = open.shift();
      return { ...rest, role: "tool", content, ...(answered === undefined ? {} : { tool_call_id: answered }) };
    }
    return { ...rest, role: shareGptRoles[speaker] ?? from, content };
  });
}

/** The calls in a text: an object with `name` and `arguments`, or a list of them. What is none of these is one call that is wrong. */
function callsIn(value: unknown): object[] {
  const parsed = typeof value === "string" ? jsonIn(value) : value;
  const items: readonly unknown[] = Array.isArray(parsed) ? parsed : [parsed];
  return items.map((item) => (typeof item === "object" && item !== null ? item : {}));
}

const roles = ["system", "developer", "user", "assistant", "tool"];

/** The messages, or the rule that they break, as the rest of a sentence after the field's name. */
export function readMessages(value: unknown): ChatTurn[] | string {
  if (!Array.isArray(value) || value.length === 0) return "must be a list of messages";
  const turns: ChatTurn[] = [];
  for (const [i, message] of value.entries()) {
    const turn = readMessage(message);
    if (typeof turn === "string") return `has a message ${i + 1} that ${turn}`;
    turns.push(turn);
  }
  return turns;
}

function readMessage(value: unknown): ChatTurn | string {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return "is not an object";
  const { role, content, name, weight, tool_calls, tool_call_id, reasoning_content, ...others } = valueFields(value);
  if (typeof role !== "string" || !roles.includes(role)) {
    return `must have a \`role\` out of ${roles.join(", ")}, not ${JSON.stringify(role)?.slice(0, 64)}`;
  }
  const isAnswer = role === "assistant";
  const foreign = {
    ...(isAnswer ? {} : { tool_calls, reasoning_content }),
    ...(role === "tool" ? {} : { tool_call_id }),
  };
  for (const [key, extra] of Object.entries({ ...others, ...foreign })) {
    const isEmpty = extra === undefined || extra === null || (Array.isArray(extra) && extra.length === 0);
    if (!isEmpty) return `has the field \`${key.slice(0, 64)}\`, which cannot be trained on`;
  }
  if (name !== undefined && name !== null && typeof name !== "string") return "must have a text as `name`";
  if (weight !== undefined && weight !== null && weight !== 0 && weight !== 1) return "must have a `weight` of 0 or 1";
  const calls = isAnswer ? readCalls(tool_calls) : [];
  if (typeof calls === "string") return calls;
  if (!isTextOrAbsent(reasoning_content)) return "must have a text as `reasoning_content`";
  if (!isTextOrAbsent(tool_call_id)) return "must have a text as `tool_call_id`";
  const text = calls.length > 0 && (content === undefined || content === null) ? "" : readContent(content);
  if (text === null) {
    return `must have a \`content\` that is a text or a list of {"type":"text","text":"..."} parts, not ${contentFound(content)}`;
  }
  const base = {
    role: role === "developer" ? "system" : role,
    content: text,
    trained: isAnswer && weight !== 0,
  };
  return {
    ...base,
    ...(typeof name === "string" ? { name } : {}),
    ...(typeof reasoning_content === "string" ? { reasoning: reasoning_content } : {}),
    ...(calls.length > 0 ? { toolCalls: calls } : {}),
    ...(typeof tool_call_id === "string" ? { toolCallId: tool_call_id } : {}),
  };
}

const valueFields = (value: object): Record<string, unknown> => ({ ...value });

const isTextOrAbsent = (value: unknown): boolean => value === undefined || value === null || typeof value === "string";

function contentFound(content: unknown): string {
  if (!Array.isArray(content))
    return content === undefined ? "nothing" : content === null ? "null" : `a ${typeof content}`;
  return content.length === 0 ? "an empty list" : "a list of other parts";
}

/** Joins parts as the server does. */
function readContent(content: unknown): string | null {
  if (typeof content === "string") return content;
  if (!Array.isArray(content) || content.length === 0) return null;
  const texts: string[] = [];
  for (const part of content) {
    const isText = typeof part === "object" && part !== null && "type" in part && part.type === "text";
    if (!isText || !("text" in part) || typeof part.text !== "string") return null;
    texts.push(part.text);
  }
  return texts.join("\n");
}
