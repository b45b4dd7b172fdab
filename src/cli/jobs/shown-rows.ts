/** A few short rows of a job's file, for the card of its adapter. */

import { createReadStream } from "node:fs";
import { createInterface } from "node:readline";
import { isObject } from "../../base/json.js";
import type { Place } from "../../train/data/faults.js";
import { type Example, type Fields, RowFault, readExample } from "../../train/data/rows.js";
import type { OriginRecord } from "../../train/files/record.js";

export type ShownRow = OriginRecord["rows"][number];

const mostRows = 3;
/** Lines that are read to find them. */
const mostLines = 200;
/** Of an input, and of its answer. */
const mostCharacters = 200;

/** Of a prompt, which a chat's template may have widened. */
export const isShortExample = (text: string): boolean => text.length <= 2 * mostCharacters;

/** The first rows that are short, each with an input of its own. Lines that are no such rows are left to the reader of the data. */
export async function readShownRows(path: string, textsOf: (fields: Fields) => ShownRow | null): Promise<ShownRow[]> {
  const found: ShownRow[] = [];
  let lines = 0;
  for await (const line of createInterface({ input: createReadStream(path) })) {
    if (found.length === mostRows || lines++ === mostLines) break;
    const fields = parsed(line);
    const row = isObject(fields) ? textsOf(fields) : null;
    if (row !== null && isShort(row) && found.every(({ input }) => input !== row.input)) found.push(row);
  }
  return found;
}

/** The row of a line; null for one that cannot be shown. */
export async function readRowAt(
  { file, line: at }: Place,
  textsOf: (fields: Fields) => ShownRow | null,
): Promise<ShownRow | null> {
  let line = 0;
  for await (const text of createInterface({ input: createReadStream(file) })) {
    if (++line < at) continue;
    const fields = parsed(text);
    return isObject(fields) ? textsOf(fields) : null;
  }
  return null;
}

const isShort = ({ input, output }: ShownRow): boolean =>
  [input, output].every((text) => text.trim() !== "" && text.length <= mostCharacters);

/** Of a decoder's row: what is asked and answered. null: it is a text without a question, or a conversation. */
export function decoderTexts(fields: Fields): ShownRow | null {
  try {
    return textsOf(readExample(fields));
  } catch (error) {
    if (error instanceof RowFault) return null;
    throw error;
  }
}

function textsOf(example: Example): ShownRow | null {
  switch (example.kind) {
    case "completion":
      return { input: example.prompt, output: example.completion };
    case "label":
      return { input: example.text, output: example.label };
    case "instruction":
      return { input: [example.instruction, example.input].filter(Boolean).join("\n"), output: example.output };
    case "chat":
      return lastTurns(example.messages);
    case "preference": {
      const { prompt, chosen } = example;
      const asked = typeof prompt === "string" ? prompt : prompt.at(-1)?.content;
      return { input: asked ?? "", output: typeof chosen === "string" ? chosen : chosen.content };
    }
    default:
      return null;
  }
}

/** A conversation of one question, perhaps after a system message. */
function lastTurns(messages: readonly { readonly role: string; readonly content: string }[]): ShownRow | null {
  const [user, assistant, ...more] = messages.filter(({ role }) => role !== "system");
  const isOne = user?.role === "user" && assistant?.role === "assistant" && more.length === 0;
  return isOne ? { input: user.content, output: assistant.content } : null;
}

/** Of a task's row. null: it is asked with more than one text. */
export function taskTexts(fields: Fields): ShownRow | null {
  const { text, text_pair: pair, label, labels, score, tokens, tags, anchor, positive, source, target } = fields;
  if (isList(tokens) && isList(tags)) return { input: tokens.join(" "), output: tags.join(" ") };
  if (typeof anchor === "string") return { input: anchor, output: shownText(positive) };
  if (typeof source === "string") return { input: source, output: shownText(target) };
  if (fields.observation !== undefined) {
    return { input: JSON.stringify(fields.observation), output: JSON.stringify(fields.action) };
  }
  // A pair cannot be asked for with one text.
  if (typeof text !== "string" || (pair !== undefined && pair !== null)) return null;
  return { input: text, output: shownText(label ?? labels ?? score) };
}

const isList = (value: unknown): value is readonly unknown[] => Array.isArray(value);
const shownText = (value: unknown): string => (isList(value) ? value.join(", ") : String(value ?? ""));

function parsed(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return null;
  }
}
