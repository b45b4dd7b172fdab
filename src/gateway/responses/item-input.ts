/** The items of `input`: untrusted values in, items or what is wrong with one out. */
import { isObject, type Json } from "../../base/json.js";
import { Wrong } from "../body/custom-field.js";
import { describe, describeWord, shorten } from "../body/parse.js";
import { argumentsFault } from "../openai/message-input.js";
import { type Item, type ItemStatus, outputText } from "./items.js";

/** Stands for an item of a stored response. */
export interface ItemReference {
  readonly type: "item_reference";
  readonly id: string;
}

type Unnamed<Each> = Each extends Item ? Omit<Each, "id"> & { readonly id: string | null } : never;

/** An item as a client sent it, maybe without an id. */
export type SentItem = Unnamed<Item>;

const roles = ["system", "developer", "user", "assistant"] as const;
type Role = (typeof roles)[number];

/** The fields of each kind. Some say nothing that a chat template could show. */
const fields = {
  message: ["type", "id", "status", "phase", "role", "content"],
  reasoning: ["type", "id", "status", "summary", "content"],
  function_call: ["type", "id", "status", "call_id", "name", "arguments"],
  function_call_output: ["type", "id", "status", "call_id", "output"],
  item_reference: ["type", "id"],
} as const;

const partFields: ReadonlyMap<unknown, readonly string[]> = new Map([
  ["input_text", ["type", "text", "prompt_cache_breakpoint"]],
  ["output_text", ["type", "text", "annotations", "logprobs"]],
  ["refusal", ["type", "refusal"]],
]);

export function readItem(value: unknown): SentItem | ItemReference | Wrong {
  if (!isObject(value)) return new Wrong("must be an object with a `type` or a `role`", describe(value));
  const type = value.type ?? (Object.keys(value).join() === "id" ? "item_reference" : "message");
  if (typeof type !== "string" || !isKind(type)) {
    const rule = `must have a \`type\` out of ${Object.keys(fields).join(", ")}`;
    return new Wrong(rule, `${describeWord(type)} as \`type\``);
  }
  return otherField(value, fields[type]) ?? readers[type](value);
}

const isKind = (type: string): type is keyof typeof fields => Object.hasOwn(fields, type);

const readers: { readonly [Kind in keyof typeof fields]: (value: Json) => SentItem | ItemReference | Wrong } = {
  message: readMessage,
  reasoning: readReasoning,
  function_call: readCall,
  function_call_output: readOutput,
  item_reference: readReference,
};

function readMessage(value: Json): SentItem | Wrong {
  const { role, content } = value;
  if (!isRole(role)) {
    return new Wrong(`must have a \`role\` out of ${roles.join(", ")}`, `${describeWord(role)} as \`role\``);
  }
  const texts = readTexts(content, "content");
  if (texts instanceof Wrong) return texts;
  const own = { id: idOf(value), type: "message" } as const;
  if (role === "assistant") return { ...own, status: statusOf(value), role, content: texts.map(outputText) };
  return { ...own, status: "completed", role, content: texts.map((text) => ({ type: "input_text", text })) };
}

/** OpenAI's own models give only a summary, which templates cannot show as reasoning. */
function readReasoning(value: Json): SentItem | Wrong {
  const rule = "must have a `content` that is a list of `reasoning_text` parts, each with a `text`";
  const { content } = value;
  const parts: unknown[] = content === undefined || content === null ? [] : Array.isArray(content) ? content : [null];
  const texts: string[] = [];
  for (const part of parts) {
    if (!isObject(part) || part.type !== "reasoning_text" || typeof part.text !== "string") {
      return new Wrong(rule, describe(content));
    }
    texts.push(part.text);
  }
  const own = { id: idOf(value), type: "reasoning", status: statusOf(value), summary: [] } as const;
  return { ...own, content: texts.map((text) => ({ type: "reasoning_text", text })) };
}

function readCall(value: Json): SentItem | Wrong {
  const { name } = value;
  const callId = readCallId(value);
  if (callId instanceof Wrong) return callId;
  if (typeof name !== "string" || name === "") {
    return new Wrong("must have the `name` of a function", `${describe(name)} as \`name\``);
  }
  const text = value.arguments === "" ? "{}" : value.arguments;
  const fault = argumentsFault(text);
  if (fault) return fault;
  const own = { id: idOf(value), type: "function_call", status: statusOf(value) } as const;
  return { ...own, call_id: callId, name, arguments: String(text) };
}

function readOutput(value: Json): SentItem | Wrong {
  const callId = readCallId(value);
  if (callId instanceof Wrong) return callId;
  const texts = readTexts(value.output, "output");
  if (texts instanceof Wrong) return texts;
  const own = { id: idOf(value), type: "function_call_output", status: "completed" } as const;
  return { ...own, call_id: callId, output: texts.join("\n") };
}

function readReference(value: Json): ItemReference | Wrong {
  const id = idOf(value);
  return id === null
    ? new Wrong("must have the `id` of an item", `${describe(value.id)} as \`id\``)
    : { type: "item_reference", id };
}

function readCallId({ call_id: id }: Json): string | Wrong {
  if (typeof id === "string" && id.length >= 1 && id.length <= 128) return id;
  return new Wrong("must have a `call_id` of 1 to 128 characters", `${describe(id)} as \`call_id\``);
}

const isRole = (value: unknown): value is Role => roles.some((role) => role === value);

const statusOf = ({ status }: Json): ItemStatus => (status === "incomplete" ? "incomplete" : "completed");

/** Ids are repeated, so they are short and plain. */
function idOf({ id }: Json): string | null {
  return typeof id === "string" && /^[A-Za-z0-9_-]{1,128}$/.test(id) ? id : null;
}

/** A text, or the texts of parts. */
function readTexts(value: unknown, name: string): readonly string[] | Wrong {
  const rule = `must have \`${name}\` that is a string or a list of \`input_text\` or \`output_text\` parts, each with a \`text\``;
  if (typeof value === "string") return [value];
  if (!Array.isArray(value) || value.length === 0) return new Wrong(rule, `${describe(value)} as \`${name}\``);
  const texts: string[] = [];
  for (const [index, part] of value.entries()) {
    const text = readPart(part, rule);
    if (text instanceof Wrong) return new Wrong(text.rule, `${text.found} at \`${name}[${index}]\``);
    texts.push(text);
  }
  return texts;
}

function readPart(part: unknown, rule: string): string | Wrong {
  if (!isObject(part)) return new Wrong(rule, describe(part));
  const known = partFields.get(part.type);
  if (!known) return new Wrong(rule, `${describeWord(part.type)} as \`type\``);
  const unknown = otherField(part, known);
  if (unknown) return unknown;
  const name = part.type === "refusal" ? "refusal" : "text";
  const text = part[name];
  return typeof text === "string" ? text : new Wrong(rule, `${describe(text)} as \`${name}\``);
}

function otherField(value: Json, known: readonly string[]): Wrong | null {
  const other = Object.keys(value).find((key) => !known.includes(key) && value[key] !== null);
  if (other === undefined) return null;
  return new Wrong(`has the field \`${shorten(other)}\`, which is not supported`, describe(value[other]));
}
