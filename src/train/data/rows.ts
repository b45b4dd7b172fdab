/** Says what a row is: one of the forms that trainers know, found by its fields. Knows no token. */
import { type ChatTurn, isMessageList, readMessages } from "./messages.js";

/** What a row asks to be learned. */
export type Example =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "completion"; readonly prompt: string; readonly completion: string }
  | { readonly kind: "instruction"; readonly instruction: string; readonly input: string; readonly output: string }
  | { readonly kind: "label"; readonly text: string; readonly label: string }
  | { readonly kind: "chat"; readonly messages: readonly ChatTurn[] }
  | PreferenceExample;

export interface PreferenceExample {
  readonly kind: "preference";
  readonly prompt: string | readonly ChatTurn[];
  readonly chosen: string;
  readonly rejected: string;
}

export type ExampleKind = Example["kind"];

/** A reason why a row is no example, in words that follow "file:line: ". */
export class RowFault extends Error {}

interface Form {
  readonly required: readonly string[];
  readonly optional?: readonly string[];
  read(fields: Fields): Example;
}

type Fields = Readonly<Record<string, unknown>>;

const forms: readonly Form[] = [
  { required: ["text"], read: (fields) => ({ kind: "text", text: textOf(fields, "text") }) },
  {
    required: ["text", "label"],
    read: (fields) => ({ kind: "label", text: textOf(fields, "text"), label: labelOf(fields.label) }),
  },
  {
    required: ["prompt", "completion"],
    read: (fields) => ({
      kind: "completion",
      prompt: textOf(fields, "prompt"),
      completion: textOf(fields, "completion"),
    }),
  },
  {
    required: ["instruction", "output"],
    optional: ["input"],
    read: (fields) => ({
      kind: "instruction",
      instruction: textOf(fields, "instruction"),
      input: isAbsent(fields.input) ? "" : textOf(fields, "input"),
      output: textOf(fields, "output"),
    }),
  },
  { required: ["messages"], read: (fields) => ({ kind: "chat", messages: messagesOf(fields.messages, "messages") }) },
  {
    required: ["prompt", "chosen", "rejected"],
    read: (fields) => ({
      kind: "preference",
      prompt: isMessageList(fields.prompt) ? messagesOf(fields.prompt, "prompt") : textOf(fields, "prompt"),
      chosen: answerOf(fields, "chosen"),
      rejected: answerOf(fields, "rejected"),
    }),
  },
  {
    required: ["input", "preferred_output", "non_preferred_output"],
    read: (fields) => ({
      kind: "preference",
      prompt: inputMessages(fields.input),
      chosen: answerOf(fields, "preferred_output"),
      rejected: answerOf(fields, "non_preferred_output"),
    }),
  },
];

const knownFields = new Set(forms.flatMap(({ required, optional = [] }) => [...required, ...optional]));
const allForms = forms
  .map(({ required, optional = [] }) => `{${[...required, ...optional.map((name) => `${name}?`)].join(", ")}}`)
  .join(", ");

/** Reads a row by the fields that it has; fields of no form are left alone. Throws RowFault. */
export function readExample(fields: Fields): Example {
  const found = Object.keys(fields).filter((name) => knownFields.has(name) && !isAbsent(fields[name]));
  if (!isEmptyList(fields.tools)) throw new RowFault("has `tools`, which cannot be trained on yet");
  const form = forms.find(
    ({ required, optional = [] }) =>
      required.every((name) => found.includes(name)) &&
      found.every((name) => required.includes(name) || optional.includes(name)),
  );
  if (form) return form.read(fields);
  const named = Object.entries(fields).map(([name, value]) => (isAbsent(value) ? `${name} (null)` : name));
  const names = named.length > 0 ? `has the fields ${named.slice(0, 12).join(", ")}` : "has no field";
  throw new RowFault(`${names}; a row must have those of one form: ${allForms}`);
}

const isAbsent = (value: unknown): boolean => value === undefined || value === null;
const isEmptyList = (value: unknown): boolean => isAbsent(value) || (Array.isArray(value) && value.length === 0);

function textOf(fields: Fields, name: string): string {
  const value = fields[name];
  if (typeof value === "string") return value;
  throw new RowFault(`must have a text as \`${name}\`, not ${shown(value)}`);
}

function labelOf(value: unknown): string {
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  if (typeof value === "string" && value.trim() !== "") return value.trim();
  throw new RowFault(`must have a word or a number as \`label\`, not ${shown(value)}`);
}

function messagesOf(value: unknown, name: string): ChatTurn[] {
  const read = readMessages(value);
  if (typeof read === "string") throw new RowFault(`\`${name}\` ${read}`);
  return read;
}

/** OpenAI's preference rows keep the messages in an object. */
function inputMessages(value: unknown): ChatTurn[] {
  const messages = typeof value === "object" && value !== null && "messages" in value ? value.messages : value;
  return messagesOf(messages, "input");
}

/** An answer: a text, or a list of one assistant's message. */
function answerOf(fields: Fields, name: string): string {
  const value = fields[name];
  if (!isMessageList(value)) return textOf(fields, name);
  const [message, ...others] = messagesOf(value, name);
  if (message?.role === "assistant" && others.length === 0) return message.content;
  throw new RowFault(`must have a text or one assistant's message as \`${name}\``);
}

export function shown(value: unknown): string {
  if (value === undefined) return "nothing";
  if (typeof value === "object" && value !== null) return Array.isArray(value) ? "a list" : "an object";
  const text = JSON.stringify(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}
