/** The messages of a chat: untrusted values in, ChatMessages or what is wrong with one out. */
import { isObject } from "../../base/json.js";
import type { ToolCall } from "../../text/tools/types.js";
import type { ChatMessage } from "../../text/types.js";
import { Wrong } from "../body/custom-field.js";
import { faultInside, parsed } from "../body/json-value.js";
import { describe, describeWord, shorten } from "../body/parse.js";

const roles = ["system", "developer", "user", "assistant", "tool"];
/** Parts of an assistant's earlier answer that clients send back and that are empty here. */
const emptyExtras = ["annotations", "refusal", "audio", "function_call"];

export function readMessage(value: unknown, maxTools: number): ChatMessage | Wrong {
  if (!isObject(value)) return new Wrong("must be an object with `role` and `content`", describe(value));
  // The `openai` package adds `parsed` to the messages that it sends back.
  const { role, content, name, tool_calls, tool_call_id, reasoning_content, parsed: read, ...rest } = value;
  if (typeof role !== "string" || !roles.includes(role)) {
    return new Wrong(`must have a \`role\` out of ${roles.join(", ")}`, `${describeWord(role)} as \`role\``);
  }
  const own = {
    ...(role === "assistant" ? {} : { tool_calls, reasoning_content, parsed: read }),
    ...(role === "tool" ? {} : { tool_call_id }),
  };
  for (const [key, extra] of Object.entries({ ...rest, ...own })) {
    const isEmpty = extra === null || extra === undefined || (Array.isArray(extra) && extra.length === 0);
    if (isEmpty && (emptyExtras.includes(key) || Object.hasOwn(own, key))) continue;
    return new Wrong(`has the field \`${shorten(key)}\`, which is not supported`, describe(extra));
  }
  if (name !== undefined && name !== null && typeof name !== "string") {
    return new Wrong("must have a string as `name`", `${describe(name)} as \`name\``);
  }
  const calls = role === "assistant" ? readCalls(tool_calls ?? [], maxTools) : [];
  if (calls instanceof Wrong) return calls;
  const text = calls.length > 0 && isAbsent(content) ? "" : readContent(content);
  if (text instanceof Wrong) return text;
  const extras = role === "tool" ? readToolFields(tool_call_id) : readReasoning(reasoning_content);
  if (extras instanceof Wrong) return extras;
  return {
    role: role === "developer" ? "system" : role,
    content: text,
    ...(typeof name === "string" ? { name } : {}),
    ...(calls.length > 0 ? { toolCalls: calls } : {}),
    ...extras,
  };
}

const isAbsent = (content: unknown): boolean =>
  content === undefined || content === null || (Array.isArray(content) && content.length === 0);

function readToolFields(id: unknown): Pick<ChatMessage, "toolCallId"> | Wrong {
  if (typeof id === "string" && id !== "") return { toolCallId: id };
  return new Wrong("must have the id of a call as `tool_call_id`", `${describe(id)} as \`tool_call_id\``);
}

function readReasoning(reasoning: unknown): Pick<ChatMessage, "reasoning"> | Wrong {
  if (reasoning === undefined || reasoning === null) return {};
  if (typeof reasoning === "string") return { reasoning };
  return new Wrong("must have a string as `reasoning_content`", `${describe(reasoning)} as \`reasoning_content\``);
}

function readContent(content: unknown): string | Wrong {
  const rule = 'must have a `content` that is a string or a list of {"type":"text","text":"..."} parts';
  if (typeof content === "string") return content;
  if (!Array.isArray(content) || content.length === 0) return new Wrong(rule, `${describe(content)} as \`content\``);
  const texts: string[] = [];
  for (const [index, part] of content.entries()) {
    const fault = partFault(part);
    if (fault !== null) return new Wrong(rule, `${fault} at \`content[${index}]\``);
    texts.push(part.text);
  }
  return texts.join("\n");
}

/** What was found instead of a text part. */
function partFault(part: unknown): string | null {
  if (!isObject(part)) return describe(part);
  if (part.type !== "text") return `${describeWord(part.type)} as \`type\``;
  return typeof part.text === "string" ? null : `${describe(part.text)} as \`text\``;
}

function readCalls(value: unknown, maxTools: number): ToolCall[] | Wrong {
  if (!Array.isArray(value) || value.length > maxTools) {
    return new Wrong(
      `must have a list of up to ${maxTools} calls as \`tool_calls\``,
      `${describe(value)} as \`tool_calls\``,
    );
  }
  const calls: ToolCall[] = [];
  for (const [index, item] of value.entries()) {
    const call = readCall(item);
    if (call instanceof Wrong) return new Wrong(call.rule, `${call.found} at \`tool_calls[${index}]\``);
    calls.push(call);
  }
  return calls;
}

function readCall(value: unknown): ToolCall | Wrong {
  const rule =
    'must have calls {"id":"...","type":"function","function":{"name":"...","arguments":"..."}} as `tool_calls`';
  if (!isObject(value)) return new Wrong(rule, describe(value));
  const { id, type = "function", function: called } = value;
  if (type !== "function") return new Wrong(rule, `${describeWord(type)} as \`type\``);
  if (typeof id !== "string" || id === "") return new Wrong(rule, `${describe(id)} as \`id\``);
  if (!isObject(called)) return new Wrong(rule, `${describe(called)} as \`function\``);
  const { name, arguments: text } = called;
  if (typeof name !== "string" || name === "") return new Wrong(rule, `${describe(name)} as \`name\``);
  const json = text === "" || text === undefined || text === null ? "{}" : text;
  const fault = argumentsFault(json);
  return fault ?? { id, name, arguments: String(json) };
}

/** Templates read the arguments as an object. */
export function argumentsFault(text: unknown): Wrong | null {
  const value: unknown = typeof text === "string" ? parsed(text) : null;
  if (isObject(value)) return faultInside(value);
  return new Wrong(
    "must have the JSON text of an object as the `arguments` of a call",
    `${describe(text)} as \`arguments\``,
  );
}

/** Names the function that each tool's message answers, as some templates show it. */
export function withToolNames(messages: readonly ChatMessage[]): readonly ChatMessage[] {
  const names = new Map<string, string>();
  return messages.map((message) => {
    for (const { id, name } of message.toolCalls ?? []) names.set(id, name);
    const name =
      message.role === "tool" && message.name === undefined ? names.get(message.toolCallId ?? "") : undefined;
    return name === undefined ? message : { ...message, name };
  });
}
