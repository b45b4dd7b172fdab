/** Messages of Anthropic's API as a chat: content blocks in, neutral messages or the first fault out. */
import * as v from "valibot";
import { isObject, type Json } from "../../base/json.js";
import type { ChatMessage } from "../../text/types.js";
import { listOf } from "../body/field-kinds.js";
import { describe, describeWord, Found, shorten } from "../body/parse.js";
import type { RequestBounds } from "../options.js";

const roles = ["user", "assistant", "system"];

/** The rule that a value breaks, and what was found. */
interface Wrong {
  readonly rule: string;
  readonly found: string;
}

/** `messages`. Neighbours of the same role are one turn, as in Anthropic's API. */
export function messagesField({ maxMessages }: RequestBounds) {
  const rule = `must be a list of 1 to ${maxMessages} messages`;
  return v.pipe(
    listOf(reading(readMessage), 1, maxMessages, rule),
    v.transform((messages) => joinTurns(messages)),
  );
}

/** `system`: its text. */
export const systemField = v.optional(reading(readText));

function reading<T extends object | string>(read: (value: unknown) => T | Wrong) {
  return v.pipe(
    v.unknown(),
    v.rawTransform<unknown, T>(({ dataset, addIssue, NEVER }) => {
      const result = read(dataset.value);
      if (!isWrong(result)) return result;
      addIssue({ message: result.rule, input: new Found(result.found) });
      return NEVER;
    }),
  );
}

const isWrong = (result: object | string): result is Wrong => typeof result === "object" && "rule" in result;

function readMessage(value: unknown): ChatMessage | Wrong {
  if (!isObject(value)) return { rule: "must be an object with `role` and `content`", found: describe(value) };
  const { role, content, ...rest } = value;
  if (typeof role !== "string" || !roles.includes(role)) {
    return { rule: `must have a \`role\` out of ${roles.join(", ")}`, found: `${describeWord(role)} as \`role\`` };
  }
  const unknown = unknownKey(rest, []);
  if (unknown) return unknown;
  const text = readText(content);
  return isWrong(text) ? { rule: text.rule, found: `${text.found} in \`content\`` } : { role, content: text };
}

/** A string, or text blocks, whose texts are lines of one. */
function readText(value: unknown): string | Wrong {
  if (typeof value === "string") return value;
  const rule = 'must be a string or a list of {"type":"text","text":"..."} blocks';
  if (!Array.isArray(value)) return { rule, found: describe(value) };
  const texts: string[] = [];
  for (const [index, block] of value.entries()) {
    const text = readBlock(block, index);
    if (isWrong(text)) return text;
    texts.push(text);
  }
  return texts.join("\n");
}

function readBlock(block: unknown, index: number): string | Wrong {
  if (!isObject(block)) return { rule: "must have objects as blocks", found: `${describe(block)} as block ${index}` };
  if (block.type !== "text") {
    const rule = 'must have blocks of the type "text" only: other types are not supported';
    return { rule, found: `${describeWord(block.type)} as the type of block ${index}` };
  }
  const { text } = block;
  if (typeof text !== "string") {
    return { rule: "must have a string as the `text` of a block", found: `${describe(text)} in block ${index}` };
  }
  return unknownKey(block, ["type", "text", "cache_control", "citations"]) ?? text;
}

/** `cache_control` changes nothing; `citations` are an earlier answer's and empty. */
function unknownKey(object: Json, allowed: readonly string[]): Wrong | null {
  for (const [key, value] of Object.entries(object)) {
    const isEmpty = value === null || (Array.isArray(value) && value.length === 0);
    if (isEmpty || (allowed.includes(key) && key !== "citations")) continue;
    return { rule: `has the field \`${shorten(key)}\`, which is not supported`, found: describe(value) };
  }
  return null;
}

function joinTurns(messages: readonly ChatMessage[]): ChatMessage[] {
  const turns: ChatMessage[] = [];
  for (const message of messages) {
    const before = turns.at(-1);
    if (before?.role !== message.role) turns.push(message);
    else turns[turns.length - 1] = { ...before, content: `${before.content}\n${message.content}` };
  }
  return turns;
}
