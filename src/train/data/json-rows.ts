/** Rows of JSON lines and JSON arrays, each with its first line. */
import { isObject } from "../../base/json.js";
import { jsonBounds } from "../../tensor/json-bounds.js";
import type { DataFaults } from "./faults.js";

export interface JsonRow {
  readonly line: number;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** Depth down to which duplicate keys are found. */
const limits = { maxDepth: 256, maxParts: Number.POSITIVE_INFINITY };

/** One object per line; blank lines are skipped. */
export function readJsonLines(file: string, text: string, faults: DataFaults): JsonRow[] {
  const rows: JsonRow[] = [];
  for (const [i, line] of text.split("\n").entries()) {
    if (line.trim() !== "") addRow(rows, line, { file, line: i + 1 }, faults);
  }
  return rows;
}

/** A `.json` file: an array of objects, one object over several lines, or the lines of a `.jsonl` file under another name. */
export function readJsonFile(file: string, text: string, faults: DataFaults): JsonRow[] {
  const start = text.search(/[^\s\ufeff]/);
  const rows: JsonRow[] = [];
  if (text[start] === "{" && isJson(text.slice(start))) {
    addRow(rows, text.slice(start), { file, line: 1 + newlines(text, 0, start) }, faults);
    return rows;
  }
  if (text[start] !== "[") return readJsonLines(file, text, faults);
  let line = 1;
  let counted = 0;
  for (const element of elementsOf(text, start)) {
    line += newlines(text, counted, element.begin);
    counted = element.begin;
    if (element.fault === null) addRow(rows, text.slice(element.begin, element.end), { file, line }, faults);
    else faults.add({ file, line }, element.fault);
  }
  return rows;
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

function addRow(rows: JsonRow[], json: string, place: { file: string; line: number }, faults: DataFaults): void {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (error) {
    faults.add(place, `is not JSON (${error instanceof Error ? error.message.slice(0, 120) : "unreadable"})`);
    return;
  }
  const [twice] = jsonBounds(json, limits).duplicates;
  if (!isObject(value)) faults.add(place, `is not a JSON object, but ${kindOf(value)}`);
  else if (twice !== undefined) faults.add(place, `has the key ${JSON.stringify(twice.slice(0, 64))} twice`);
  else rows.push({ line: place.line, fields: value });
}

function kindOf(value: unknown): string {
  if (Array.isArray(value)) return "an array; a file that is an array of rows must be named .json";
  return value === null ? "null" : `a ${typeof value}`;
}

interface Element {
  readonly begin: number;
  readonly end: number;
  readonly fault: string | null;
}

/** The elements of the array that starts at `start`, found by scanning brackets and strings only. */
function* elementsOf(text: string, start: number): Generator<Element> {
  let depth = 0;
  let begin = -1;
  let at = start + 1;
  const fault = (reason: string): Element => ({ begin: Math.min(at, text.length), end: text.length, fault: reason });
  for (; at < text.length; at++) {
    const character = text.charAt(at);
    if (depth === 0 && (character === "," || character === "]")) {
      if (begin >= 0) yield { begin, end: at, fault: null };
      begin = -1;
      if (character === ",") continue;
      const rest = text.slice(at + 1).search(/\S/);
      if (rest >= 0) {
        at += 1 + rest;
        yield fault("follows the end of the array");
      }
      return;
    }
    if (begin < 0 && character.trim() !== "") begin = at;
    if (character === '"') at = endOfString(text, at);
    else if (character === "{" || character === "[") depth++;
    else if (character === "}" || character === "]") depth--;
  }
  yield fault("ends before the array does");
}

/** Position of the closing quote, or the end of the text. */
function endOfString(text: string, quote: number): number {
  for (let at = quote + 1; at < text.length; at++) {
    if (text[at] === "\\") at++;
    else if (text[at] === '"') return at;
  }
  return text.length;
}

function newlines(text: string, begin: number, end: number): number {
  let count = 0;
  for (let at = text.indexOf("\n", begin); at >= 0 && at < end; at = text.indexOf("\n", at + 1)) count++;
  return count;
}
