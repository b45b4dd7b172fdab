/** Items of a conversation in the form of OpenAI's Responses: how clients send them, how they are stored, and the messages that they stand for. */
import { isObject, type Json } from "../../base/json.js";
import type { ChatMessage } from "../../text/types.js";
import { describe, describeWord, shorten } from "../body/parse.js";

export interface InputText {
  readonly type: "input_text";
  readonly text: string;
}

export interface OutputText {
  readonly type: "output_text";
  readonly annotations: readonly [];
  /** Empty unless they were asked for. */
  readonly logprobs: Iterable<unknown>;
  readonly text: string;
}

export interface InputMessage {
  readonly id: string;
  readonly type: "message";
  readonly status: "completed";
  readonly role: "system" | "developer" | "user";
  readonly content: readonly InputText[];
}

export interface OutputMessage {
  readonly id: string;
  readonly type: "message";
  readonly status: "in_progress" | "completed" | "incomplete";
  readonly role: "assistant";
  readonly content: readonly OutputText[];
}

export type Item = InputMessage | OutputMessage;

/** Stands for an item of a stored response. */
export interface ItemReference {
  readonly type: "item_reference";
  readonly id: string;
}

type Unnamed<Each> = Each extends Item ? Omit<Each, "id"> & { readonly id: string | null } : never;

/** An item as a client sent it, maybe without an id. */
export type SentMessage = Unnamed<Item>;
export type SentItem = SentMessage | ItemReference;

/** The rule that an item breaks, and what was found. */
export class ItemFault {
  constructor(
    readonly rule: string,
    readonly found: string,
  ) {}
}

const roles = ["system", "developer", "user", "assistant"] as const;
type Role = (typeof roles)[number];
/** Fields that say nothing which a chat template could show. */
const spareFields = ["type", "id", "status", "phase", "role", "content"];
const spareOfParts: ReadonlyMap<unknown, readonly string[]> = new Map([
  ["input_text", ["type", "text", "prompt_cache_breakpoint"]],
  ["output_text", ["type", "text", "annotations", "logprobs"]],
  ["refusal", ["type", "refusal"]],
]);

/** Reads one item of `input`. */
export function readItem(value: unknown): SentItem | ItemFault {
  if (!isObject(value)) return new ItemFault("must be an object with `role` and `content`", describe(value));
  const { type, role, content } = value;
  if (type === "item_reference" || (Object.keys(value).length === 1 && "id" in value)) return readReference(value);
  if (type !== undefined && type !== null && type !== "message") {
    return new ItemFault('must have the `type` "message"', `${describeWord(type)} as \`type\``);
  }
  const unknown = otherField(value, spareFields);
  if (unknown) return unknown;
  if (!isRole(role)) {
    return new ItemFault(`must have a \`role\` out of ${roles.join(", ")}`, `${describeWord(role)} as \`role\``);
  }
  const texts = readContent(content);
  if (texts instanceof ItemFault) return texts;
  const own = { id: idOf(value), type: "message" } as const;
  if (role === "assistant") {
    const status = value.status === "incomplete" ? "incomplete" : "completed";
    return { ...own, status, role, content: texts.map(outputText) };
  }
  return { ...own, status: "completed", role, content: texts.map((text) => ({ type: "input_text", text })) };
}

function readReference(value: Json): ItemReference | ItemFault {
  const id = idOf(value);
  if (id === null) return new ItemFault("must have the `id` of an item", `${describe(value.id)} as \`id\``);
  return otherField(value, ["type", "id"]) ?? { type: "item_reference", id };
}

/** The messages that a chat template renders. */
export function messagesOf(items: readonly Item[]): ChatMessage[] {
  return items.map(({ role, content }) => ({
    role: role === "developer" ? "system" : role,
    content: content.map(({ text }) => text).join("\n"),
  }));
}

export function outputText(text: string): OutputText {
  return { type: "output_text", annotations: [], logprobs: [], text };
}

const isRole = (value: unknown): value is Role => roles.some((role) => role === value);

/** Ids are echoed, so they are short and plain. */
function idOf({ id }: Json): string | null {
  return typeof id === "string" && /^[A-Za-z0-9_-]{1,128}$/.test(id) ? id : null;
}

function readContent(content: unknown): readonly string[] | ItemFault {
  const rule =
    "must have a `content` that is a string or a list of `input_text` or `output_text` parts, each with a `text`";
  if (typeof content === "string") return [content];
  if (!Array.isArray(content) || content.length === 0) {
    return new ItemFault(rule, `${describe(content)} as \`content\``);
  }
  const texts: string[] = [];
  for (const [index, part] of content.entries()) {
    const text = readPart(part, rule);
    if (text instanceof ItemFault) return new ItemFault(text.rule, `${text.found} at \`content[${index}]\``);
    texts.push(text);
  }
  return texts;
}

function readPart(part: unknown, rule: string): string | ItemFault {
  if (!isObject(part)) return new ItemFault(rule, describe(part));
  const known = spareOfParts.get(part.type);
  if (!known) return new ItemFault(rule, `${describeWord(part.type)} as \`type\``);
  const unknown = otherField(part, known);
  if (unknown) return unknown;
  const name = part.type === "refusal" ? "refusal" : "text";
  const text = part[name];
  return typeof text === "string" ? text : new ItemFault(rule, `${describe(text)} as \`${name}\``);
}

function otherField(value: Json, known: readonly string[]): ItemFault | null {
  const other = Object.keys(value).find((key) => !known.includes(key) && value[key] !== null);
  if (other === undefined) return null;
  return new ItemFault(`has the field \`${shorten(other)}\`, which is not supported`, describe(value[other]));
}
