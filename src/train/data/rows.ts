/** Determines the form of a row by its fields, among the forms that other trainers use. */

import { isObject } from "../../base/json.js";
import type { Tool } from "../../text/tools/types.js";
import { type FormShape, formHint } from "./form-hint.js";
import { type ChatTurn, isMessageList, readMessages, shareGptMessages } from "./messages.js";
import { readTools } from "./tools.js";

/** An example to train on. */
export type Example =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "completion"; readonly prompt: string; readonly completion: string }
  | InstructionExample
  | { readonly kind: "label"; readonly text: string; readonly label: string }
  | ChatExample
  | PreferenceExample;

export interface ChatExample {
  readonly kind: "chat";
  readonly messages: readonly ChatTurn[];
  /** Functions that the template shows to the model. */
  readonly tools: readonly Tool[];
}

export interface InstructionExample {
  readonly kind: "instruction";
  readonly instruction: string;
  readonly input: string;
  readonly output: string;
  /** A system message and earlier turns, which need a chat template. */
  readonly before: readonly ChatTurn[];
}

export interface PreferenceExample {
  readonly kind: "preference";
  readonly prompt: string | readonly ChatTurn[];
  readonly chosen: PreferenceAnswer;
  readonly rejected: PreferenceAnswer;
  /** Functions that the template shows to the model. */
  readonly tools: readonly Tool[];
}

/** A text, or after a chat an assistant's turn, which may call. */
export type PreferenceAnswer = string | ChatTurn;

export type ExampleKind = Example["kind"];

/** Why a row is invalid, as the rest of a sentence after "file:line: ". */
export class RowFault extends Error {}

interface Form extends FormShape {
  read(fields: Fields): Example;
}

export type Fields = Readonly<Record<string, unknown>>;

const question = { role: "user", content: "Where is it?" };
const answer = { role: "assistant", content: "On its way." };

/** The first is the one to show where a row resembles none. */
export const forms: readonly [Form, ...Form[]] = [
  {
    required: ["prompt", "completion"],
    example: { prompt: "Where is it?", completion: " On its way." },
    read: readCompletion,
  },
  {
    required: ["text"],
    example: { text: "It was a dark night." },
    read: (fields) => ({ kind: "text", text: textOf(fields, "text") }),
  },
  {
    required: ["text", "label"],
    example: { text: "A fine film.", label: "good" },
    read: (fields) => ({ kind: "label", text: textOf(fields, "text"), label: labelOf(fields.label) }),
  },
  {
    required: ["instruction", "output"],
    optional: ["input", "system", "history"],
    example: { instruction: "Add.", input: "1 and 2", output: "3" },
    read: (fields) => ({
      kind: "instruction",
      instruction: textOf(fields, "instruction"),
      input: isAbsent(fields.input) ? "" : textOf(fields, "input"),
      output: textOf(fields, "output"),
      before: [...systemTurn(fields), ...historyTurns(fields.history)],
    }),
  },
  {
    required: ["messages"],
    optional: ["system"],
    example: { messages: [question, answer] },
    read: (fields) => ({
      kind: "chat",
      messages: withSystem(fields, messagesOf(fields.messages, "messages")),
      tools: [],
    }),
  },
  {
    required: ["conversations"],
    optional: ["system"],
    example: {
      conversations: [
        { from: "human", value: question.content },
        { from: "gpt", value: answer.content },
      ],
    },
    read: (fields) => ({
      kind: "chat",
      messages: withSystem(fields, messagesOf(shareGptMessages(fields.conversations), "conversations")),
      tools: [],
    }),
  },
  {
    required: ["prompt", "chosen", "rejected"],
    example: { prompt: "Where is it?", chosen: " On its way.", rejected: " No idea." },
    read: (fields) => ({
      kind: "preference",
      prompt: isMessageList(fields.prompt) ? messagesOf(fields.prompt, "prompt") : textOf(fields, "prompt"),
      chosen: answerOf(fields, "chosen"),
      rejected: answerOf(fields, "rejected"),
      tools: [],
    }),
  },
  {
    required: ["chosen", "rejected"],
    example: { chosen: [question, answer], rejected: [question, { ...answer, content: "No idea." }] },
    read: readConversations,
  },
  {
    required: ["input", "preferred_output", "non_preferred_output"],
    example: {
      input: { messages: [question] },
      preferred_output: [answer],
      non_preferred_output: [{ ...answer, content: "No idea." }],
    },
    read: (fields) => ({
      kind: "preference",
      prompt: inputMessages(fields.input),
      chosen: answerOf(fields, "preferred_output"),
      rejected: answerOf(fields, "non_preferred_output"),
      tools: toolsIn(isObject(fields.input) ? fields.input.tools : null),
    }),
  },
];

/** A row as most files have them, for messages. */
export const exampleRow = JSON.stringify(forms[0].example);

/** Fields that cannot be trained on and must not be ignored. */
const refusedFields = ["functions", "function_call", "images", "videos", "audios"];

const knownFields = new Set(forms.flatMap(({ required, optional = [] }) => [...required, ...optional]));

/** Reads a row by its fields and ignores unknown ones. Throws RowFault. */
export function readExample(fields: Fields): Example {
  const example = readForm(fields);
  const tools = toolsIn(fields.tools);
  if (tools.length === 0) return requireChat(example);
  if (example.kind !== "chat" && example.kind !== "preference") {
    throw new RowFault("has `tools`, which only a chat in `messages` or a pair can be trained with");
  }
  return requireChat({ ...example, tools });
}

function toolsIn(value: unknown): readonly Tool[] {
  if (saysNothing(value)) return [];
  const tools = readTools(value);
  if (typeof tools === "string") throw new RowFault(`\`tools\` ${tools}`);
  return tools;
}

/** A plain text has no turn after it that could hold a call. */
function requireChat(example: Example): Example {
  if (example.kind !== "preference" || typeof example.prompt !== "string") return example;
  const { chosen, rejected, tools } = example;
  if (typeof chosen === "string" && typeof rejected === "string" && tools.length === 0) return example;
  throw new RowFault("has calls, reasoning or `tools` after a `prompt` that is a text; they need a list of messages");
}

function readForm(fields: Fields): Example {
  for (const [name, value] of Object.entries(fields)) requireText(name, value);
  const refused = refusedFields.find((name) => !saysNothing(fields[name]));
  if (refused !== undefined) throw new RowFault(`has \`${refused}\`, which cannot be trained on yet`);
  const named = Object.keys(fields).filter((name) => knownFields.has(name));
  const found = named.filter((name) => !isAbsent(fields[name]));
  // A required field that is null is missing data, not another form.
  const hole = named.find(
    (name) => isAbsent(fields[name]) && formOf([...found, name])?.required.includes(name) === true,
  );
  if (hole !== undefined) throw new RowFault(`has null as \`${hole}\``);
  const form = formOf(found);
  if (form) return form.read(fields);
  throw new RowFault(
    formHint(
      Object.keys(fields).filter((name) => !isAbsent(fields[name])),
      forms,
    ),
  );
}

function formOf(names: readonly string[]): Form | undefined {
  return forms.find(
    ({ required, optional = [] }) =>
      required.every((name) => names.includes(name)) &&
      names.every((name) => required.includes(name) || optional.includes(name)),
  );
}

/** No form has strings deeper in its fields. */
const deepestText = 8;

/** Half of a surrogate pair is not a character and would be trained as U+FFFD. */
function requireText(path: string, value: unknown, depth = 0): void {
  if (typeof value === "string") {
    if (/\p{Surrogate}/u.test(value)) throw new RowFault(`has half of a surrogate pair in \`${path.slice(0, 64)}\``);
  } else if (typeof value === "object" && value !== null && depth < deepestText) {
    for (const [key, inner] of Object.entries(value))
      requireText(Array.isArray(value) ? path : `${path}.${key}`, inner, depth + 1);
  }
}

/** Strings, or TRL's conversations: only the completion's assistant turns count in the loss. */
function readCompletion(fields: Fields): Example {
  if (!isMessageList(fields.prompt) && !isMessageList(fields.completion)) {
    return { kind: "completion", prompt: textOf(fields, "prompt"), completion: textOf(fields, "completion") };
  }
  const prompt = messagesOf(fields.prompt, "prompt").map((turn) => ({ ...turn, trained: false }));
  return { kind: "chat", messages: [...prompt, ...messagesOf(fields.completion, "completion")], tools: [] };
}

/** TRL's pairs without a prompt: two conversations that differ only in the last answer. */
function readConversations(fields: Fields): PreferenceExample {
  const [chosen, rejected] = [messagesOf(fields.chosen, "chosen"), messagesOf(fields.rejected, "rejected")];
  const [prompt, otherPrompt] = [chosen.slice(0, -1), rejected.slice(0, -1)];
  const isSame = JSON.stringify(prompt) === JSON.stringify(otherPrompt);
  const [answer, other] = [chosen.at(-1), rejected.at(-1)];
  if (!isSame || prompt.length === 0 || answer?.role !== "assistant" || other?.role !== "assistant") {
    throw new RowFault(
      "must have conversations as `chosen` and `rejected` that differ only in the last message, the assistant's",
    );
  }
  return {
    kind: "preference",
    prompt,
    chosen: answerIn(answer),
    rejected: answerIn(other),
    tools: [],
  };
}

function systemTurn(fields: Fields): ChatTurn[] {
  if (isAbsent(fields.system) || fields.system === "") return [];
  return [{ role: "system", content: textOf(fields, "system"), trained: false }];
}

function withSystem(fields: Fields, messages: readonly ChatTurn[]): readonly ChatTurn[] {
  const system = systemTurn(fields);
  if (system.length > 0 && messages[0]?.role === "system") {
    throw new RowFault("has both `system` and a system message");
  }
  return [...system, ...messages];
}

/** Earlier turns as `[question, answer]` pairs, which do not count in the loss. */
function historyTurns(history: unknown): ChatTurn[] {
  if (isEmptyList(history)) return [];
  const pairs: readonly unknown[] = Array.isArray(history) ? history : [history];
  return pairs.flatMap((pair) => {
    const [question, answer]: readonly unknown[] = Array.isArray(pair) && pair.length === 2 ? pair : [];
    if (typeof question !== "string" || typeof answer !== "string") {
      throw new RowFault(`must have a list of [question, answer] pairs as \`history\`, not ${shown(pair)}`);
    }
    return [
      { role: "user", content: question, trained: false },
      { role: "assistant", content: answer, trained: false },
    ];
  });
}

const isAbsent = (value: unknown): boolean => value === undefined || value === null;
const isEmptyList = (value: unknown): boolean => isAbsent(value) || (Array.isArray(value) && value.length === 0);

/** What exporters write for "no tools"; some write a list as a string. */
const saysNothing = (value: unknown): boolean =>
  isEmptyList(value) || (typeof value === "string" && ["", "[]", "{}", "null"].includes(value.trim()));

/** Throws RowFault. */
export function textOf(fields: Fields, name: string): string {
  const value = fields[name];
  if (typeof value === "string") return value;
  throw new RowFault(`must have a text as \`${name}\`, not ${shown(value)}`);
}

/** Throws RowFault. */
/** Whether a value is a number that float32 holds; larger ones become infinite. */
export const isFloat = (value: unknown): value is number =>
  typeof value === "number" && Number.isFinite(Math.fround(value));

export function labelOf(value: unknown): string {
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  if (typeof value === "string" && value.trim() !== "") return value.trim();
  throw new RowFault(`must have a word or a number as \`label\`, not ${shown(value)}`);
}

function messagesOf(value: unknown, name: string): ChatTurn[] {
  const read = readMessages(value);
  if (typeof read === "string") throw new RowFault(`\`${name}\` ${read}`);
  return read;
}

/** OpenAI's preference rows wrap the messages in an object. */
function inputMessages(value: unknown): ChatTurn[] {
  const messages = typeof value === "object" && value !== null && "messages" in value ? value.messages : value;
  return messagesOf(messages, "input");
}

/** An answer: a string, or a list with one assistant message. */
function answerOf(fields: Fields, name: string): PreferenceAnswer {
  const value = fields[name];
  if (!isMessageList(value)) return textOf(fields, name);
  const [message, ...others] = messagesOf(value, name);
  if (message?.role === "assistant" && others.length === 0) return answerIn(message);
  throw new RowFault(`must have a text or one assistant's message as \`${name}\``);
}

/** The text alone where there is no more. */
function answerIn(turn: ChatTurn): PreferenceAnswer {
  return turn.toolCalls === undefined && turn.reasoning === undefined ? turn.content : turn;
}

export function shown(value: unknown): string {
  if (value === undefined) return "nothing";
  if (typeof value === "number") return String(value); // JSON reads 1e400 as Infinity
  if (typeof value === "object" && value !== null) return Array.isArray(value) ? "a list" : "an object";
  const text = JSON.stringify(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}
