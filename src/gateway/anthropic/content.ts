/** Messages of Anthropic's API as a chat: content blocks in, neutral messages or what is wrong with the first faulty one out. */
import * as v from "valibot";
import { isObject, type Json } from "../../base/json.js";
import type { ToolCall } from "../../text/tools/types.js";
import type { ChatMessage } from "../../text/types.js";
import { customField, Wrong } from "../body/custom-field.js";
import { listOf } from "../body/field-kinds.js";
import { faultInside } from "../body/json-value.js";
import { describe, describeWord, shorten } from "../body/parse.js";
import { withToolNames } from "../openai/message-input.js";
import type { RequestBounds } from "../options.js";

const roles = ["user", "assistant", "system"];

/** What a block adds to its message; a result of a tool is a message of its own. */
type Piece =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "reasoning"; readonly text: string }
  | { readonly kind: "call"; readonly call: ToolCall }
  | { readonly kind: "result"; readonly id: string; readonly text: string };

/** `messages`. Neighbours of the same role are one turn, as in Anthropic's API. */
export function messagesField({ maxMessages }: RequestBounds) {
  const rule = `must be a list of 1 to ${maxMessages} messages`;
  return v.pipe(
    listOf(customField(readMessage), 1, maxMessages, rule),
    v.transform((messages) => withToolNames(joinTurns(messages.flat()))),
  );
}

/** `system`: its text. */
export const systemField = v.optional(customField(readText));

function readMessage(value: unknown): readonly ChatMessage[] | Wrong {
  if (!isObject(value)) return new Wrong("must be an object with `role` and `content`", describe(value));
  const { role, content, ...rest } = value;
  if (typeof role !== "string" || !roles.includes(role)) {
    return new Wrong(`must have a \`role\` out of ${roles.join(", ")}`, `${describeWord(role)} as \`role\``);
  }
  const unknown = unknownKey(rest, []);
  if (unknown) return unknown;
  if (typeof content === "string") return [{ role, content }];
  if (!Array.isArray(content)) {
    return new Wrong(
      "must have a `content` that is a string or a list of blocks",
      `${describe(content)} as \`content\``,
    );
  }
  const pieces: Piece[] = [];
  for (const [index, block] of content.entries()) {
    const piece = readBlock(block, role);
    if (piece instanceof Wrong) return new Wrong(piece.rule, `${piece.found} in block ${index} of \`content\``);
    pieces.push(piece);
  }
  return role === "assistant" ? [assistantMessage(pieces)] : messagesOf(role, pieces);
}

/** A string, or text blocks, whose texts are lines of one. */
function readText(value: unknown): string | Wrong {
  if (typeof value === "string") return value;
  if (!Array.isArray(value)) return new Wrong("must be a string or a list of text blocks", describe(value));
  const texts: string[] = [];
  for (const [index, block] of value.entries()) {
    const piece = readBlock(block, "system");
    if (piece instanceof Wrong) return new Wrong(piece.rule, `${piece.found} in block ${index}`);
    if (piece.kind === "text") texts.push(piece.text);
  }
  return texts.join("\n");
}

/** The types of blocks that each role may have. */
const blockTypes: Readonly<Record<string, readonly string[]>> = {
  system: ["text"],
  user: ["text", "tool_result"],
  assistant: ["text", "thinking", "tool_use"],
};

function readBlock(block: unknown, role: string): Piece | Wrong {
  if (!isObject(block)) return new Wrong("must have objects as blocks", describe(block));
  const allowed = blockTypes[role] ?? [];
  if (typeof block.type !== "string" || !allowed.includes(block.type)) {
    const rule = `must have blocks of the types ${allowed.join(", ")} only: others are not supported with this role`;
    return new Wrong(rule, `${describeWord(block.type)} as the type`);
  }
  switch (block.type) {
    case "thinking":
      return readThinking(block);
    case "tool_use":
      return readCall(block);
    case "tool_result":
      return readResult(block);
    default:
      return readTextBlock(block);
  }
}

function readTextBlock(block: Json): Piece | Wrong {
  const { text } = block;
  if (typeof text !== "string") return new Wrong("must have a string as the `text` of a block", describe(text));
  return unknownKey(block, ["type", "text"]) ?? { kind: "text", text };
}

/** A signature proves where reasoning comes from; here it proves nothing. */
function readThinking(block: Json): Piece | Wrong {
  const { thinking } = block;
  if (typeof thinking !== "string") {
    return new Wrong("must have a string as the `thinking` of a block", describe(thinking));
  }
  return unknownKey(block, ["type", "thinking", "signature"]) ?? { kind: "reasoning", text: thinking };
}

function readCall(block: Json): Piece | Wrong {
  const { id, name, input } = block;
  const rule = 'must have calls {"type":"tool_use","id":"...","name":"...","input":{...}}';
  if (typeof id !== "string" || id === "") return new Wrong(rule, `${describe(id)} as \`id\``);
  if (typeof name !== "string" || name === "") return new Wrong(rule, `${describe(name)} as \`name\``);
  if (!isObject(input)) return new Wrong(rule, `${describe(input)} as \`input\``);
  const fault = faultInside(input) ?? unknownKey(block, ["type", "id", "name", "input", "caller"]);
  return fault ?? { kind: "call", call: { id, name, arguments: JSON.stringify(input) } };
}

function readResult(block: Json): Piece | Wrong {
  const { tool_use_id: id, content = null, is_error: isError = null } = block;
  if (typeof id !== "string" || id === "") {
    return new Wrong("must have the id of a call as `tool_use_id`", `${describe(id)} as \`tool_use_id\``);
  }
  if (isError !== null && typeof isError !== "boolean") {
    return new Wrong("must have true or false as `is_error`", `${describe(isError)} as \`is_error\``);
  }
  const text = content === null ? "" : readText(content);
  if (text instanceof Wrong) return text;
  return unknownKey(block, ["type", "tool_use_id", "content", "is_error"]) ?? { kind: "result", id, text };
}

/** What may stand anywhere and changes nothing: marks of a cache, and fields without a value. */
function unknownKey(object: Json, allowed: readonly string[]): Wrong | null {
  for (const [key, value] of Object.entries(object)) {
    const isEmpty = value === null || (Array.isArray(value) && value.length === 0);
    if (isEmpty || key === "cache_control" || allowed.includes(key)) continue;
    return new Wrong(`has the field \`${shorten(key)}\`, which is not supported`, describe(value));
  }
  return null;
}

function assistantMessage(pieces: readonly Piece[]): ChatMessage {
  const of = (kind: "text" | "reasoning") => pieces.flatMap((piece) => (piece.kind === kind ? [piece.text] : []));
  const reasoning = of("reasoning");
  const toolCalls = pieces.flatMap((piece) => (piece.kind === "call" ? [piece.call] : []));
  return {
    role: "assistant",
    content: of("text").join("\n"),
    ...(reasoning.length > 0 ? { reasoning: reasoning.join("\n") } : {}),
    ...(toolCalls.length > 0 ? { toolCalls } : {}),
  };
}

/** Texts and results in their order. */
function messagesOf(role: string, pieces: readonly Piece[]): readonly ChatMessage[] {
  const messages: ChatMessage[] = [];
  for (const piece of pieces) {
    if (piece.kind === "result") messages.push({ role: "tool", content: piece.text, toolCallId: piece.id });
    else if (piece.kind === "text") messages.push({ role, content: piece.text });
  }
  return messages.length > 0 ? messages : [{ role, content: "" }];
}

function joinTurns(messages: readonly ChatMessage[]): ChatMessage[] {
  const turns: ChatMessage[] = [];
  for (const message of messages) {
    const before = turns.at(-1);
    if (before && isPlain(before) && isPlain(message) && before.role === message.role) {
      turns[turns.length - 1] = { ...before, content: `${before.content}\n${message.content}` };
    } else turns.push(message);
  }
  return turns;
}

/** Whether a message is nothing but text. */
const isPlain = ({ role, reasoning, toolCalls }: ChatMessage): boolean =>
  role !== "tool" && reasoning === undefined && toolCalls === undefined;
