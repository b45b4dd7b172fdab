/**
 * Reads an untrusted JSON object through a valibot schema and reports every fault at once. Knows no particular request; its
 * messages never repeat text that a user sent. All text that it returns is well formed: a lone surrogate becomes U+FFFD.
 */

import * as v from "valibot";
import { LorikeetError } from "../../base/errors.js";
import { isObject, type Json } from "../../base/json.js";
import { at } from "../../base/list.js";
import { wellFormed } from "../../text/characters.js";

/** One fault of a request. `text` is a complete sentence. */
export interface Fault {
  readonly code: "invalid_value" | "unsupported_parameter";
  readonly param: string;
  readonly text: string;
}

/** Unsupported parameters, which may be sent with values that change nothing. */
export type IgnoredTable = Readonly<Record<string, { readonly allowed: string; accepts(value: unknown): boolean }>>;

export interface BodyFormat<S extends v.GenericSchema> {
  readonly schema: S;
  /** Names of the parameters that the schema reads. */
  readonly known: readonly string[];
  readonly ignored: IgnoredTable;
  /** Faults between parameters, found on the raw object so that they are reported along with the rest. */
  cross?(body: Json): readonly Fault[];
}

const listedFaults = 16;
/** Far more than exist. */
const maxParameters = 256;
/** Levels of nested lists and objects: far more than any parameter has. */
export const maxDepth = 64;

/** Throws one LorikeetError that names every fault: `unsupported_parameter` or `invalid_value`, after the first of them. */
export function parse<S extends v.GenericSchema>(format: BodyFormat<S>, input: unknown): v.InferOutput<S> {
  if (input instanceof Uint8Array) {
    // Of a route that takes pictures as well.
    const message = "The body must be JSON, sent with `content-type: application/json`.";
    throw new LorikeetError("unsupported_media_type", message, { allowed: "application/json" });
  }
  if (!isObject(input)) {
    throw new LorikeetError("invalid_value", `The body must be a JSON object; found ${describe(input)}.`);
  }
  const count = Object.keys(input).length;
  if (count > maxParameters) {
    throw new LorikeetError(
      "invalid_value",
      `The body has ${count} parameters; at most ${maxParameters} are allowed.`,
      {
        param: "body",
        found: count,
        allowed: maxParameters,
      },
    );
  }
  const body = withoutNulls(wellFormedObject(input));
  const faults = [...unsupportedFaults(format, body)];
  const result = v.safeParse(format.schema, body, { abortPipeEarly: true });
  for (const issue of result.issues ?? []) faults.push(issueFault(issue));
  faults.push(...(format.cross?.(body) ?? []));
  if (result.success && faults.length === 0) return result.output;
  throw faultsError(faults);
}

/** Makes every string, including keys, well-formed. Unchanged values are not copied. */
function wellFormedObject(object: Json, depth = 0): Json {
  let changed: [string, unknown][] | null = null;
  const entries = Object.entries(object);
  for (const [index, [key, value]] of entries.entries()) {
    const entry: [string, unknown] = [wellFormed(key), wellFormedValue(value, depth + 1)];
    if (entry[0] === key && entry[1] === value) continue;
    changed ??= [...entries];
    changed[index] = entry;
  }
  return changed === null ? object : Object.fromEntries(changed);
}

function wellFormedValue(value: unknown, depth: number): unknown {
  if (typeof value === "string") return wellFormed(value);
  if (typeof value !== "object" || value === null) return value;
  if (depth > maxDepth) {
    throw new LorikeetError("invalid_value", `The body is nested more than ${maxDepth} levels deep.`, {
      param: "body",
      allowed: maxDepth,
    });
  }
  if (isObject(value)) return wellFormedObject(value, depth);
  if (!Array.isArray(value)) return value;
  let changed: unknown[] | null = null;
  for (let i = 0; i < value.length; i++) {
    const item = wellFormedValue(value[i], depth + 1);
    if (item === value[i]) continue;
    changed ??= [...value];
    changed[i] = item;
  }
  return changed ?? value;
}

/** A parameter that is null counts as absent. */
function withoutNulls(value: Json): Json {
  const kept = Object.create(null) as Record<string, unknown>;
  for (const [key, item] of Object.entries(value)) if (item !== null) kept[key] = item;
  return kept;
}

/** A description of what is wrong inside a value, used as a fault's input if the value itself would not explain it. */
export class Found {
  constructor(readonly text: string) {}
}

/** Describes a value without quoting text: numbers and booleans as they are, even as strings, anything else by type and size. */
export function describe(value: unknown): string {
  if (value instanceof Found) return value.text;
  if (value === undefined) return "nothing";
  if (value === null || typeof value === "number" || typeof value === "boolean") return String(value);
  if (typeof value === "string" && isPlain(value)) return `the string "${value}"`;
  if (typeof value === "string") return `a string of ${counted(value.length, "character")}`;
  return Array.isArray(value) ? `a list of ${value.length}` : "an object";
}

/** A number or a boolean in a string, which reveals nothing else. */
const isPlain = (text: string): boolean => /^(-?\d{1,16}(\.\d{1,16})?|true|false|null)$/.test(text);

/** A short word, such as the value of an enumeration, is quoted; longer text, or text with other characters, is not. */
export function describeWord(value: unknown): string {
  return typeof value === "string" && /^[a-z][a-z0-9_.-]{0,31}$/i.test(value) ? `"${value}"` : describe(value);
}

const counted = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? "" : "s"}`;

export function invalid(param: string, rule: string): Fault {
  return { code: "invalid_value", param, text: `\`${param}\` ${rule}.` };
}

export function faultsError(faults: readonly Fault[]): LorikeetError {
  const first = at(faults, 0);
  const texts = faults.slice(0, listedFaults).map((fault) => fault.text);
  if (faults.length > listedFaults) texts.push(`${faults.length - listedFaults} more faults are not listed.`);
  return new LorikeetError(first.code, texts.join(" "), { param: first.param, faults: texts });
}

function* unsupportedFaults(format: BodyFormat<v.GenericSchema>, body: Json): Iterable<Fault> {
  for (const [param, value] of Object.entries(body)) {
    if (format.known.includes(param)) continue;
    const ignored = Object.hasOwn(format.ignored, param) ? format.ignored[param] : undefined;
    if (ignored?.accepts(value)) continue;
    const hint = ignored ? `; only ${ignored.allowed} is accepted` : "";
    const shown = shorten(param);
    yield { code: "unsupported_parameter", param: shown, text: `The parameter \`${shown}\` is not supported${hint}.` };
  }
}

function issueFault(issue: v.BaseIssue<unknown>): Fault {
  const param = pathOf(issue);
  const code = issue.type === "strict_object" ? "unsupported_parameter" : "invalid_value";
  const rule = code === "unsupported_parameter" ? "is not supported" : issue.message;
  return {
    code,
    param,
    text: `\`${param}\` ${rule}; found ${issue.type === "picklist" ? describeWord(issue.input) : describe(issue.input)}.`,
  };
}

function pathOf(issue: v.BaseIssue<unknown>): string {
  let path = "";
  for (const { key } of issue.path ?? []) {
    if (typeof key === "number") path += `[${key}]`;
    else path += path === "" ? shorten(String(key)) : `.${shorten(String(key))}`;
  }
  return path === "" ? "body" : path;
}

/** Keys are untrusted, too: messages show at most this many characters of one. */
export function shorten(key: string): string {
  return key.length <= 64 ? key : `${wellFormed(key.slice(0, 64))}…`;
}
