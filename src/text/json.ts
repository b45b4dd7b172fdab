/** Reads untrusted JSON from disk, and checks the kinds of its values. */

import { LorikeetError } from "../base/errors.js";
import { readRegular } from "../base/files.js";
import { isObject, type Json } from "../base/json.js";
import { jsonBreak } from "../base/json-break.js";

export const asRecord = (value: unknown): Json | null => (isObject(value) ? value : null);

export const asList = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);

export const asString = (value: unknown): string | null => (typeof value === "string" ? value : null);

/** The kind of a value, for messages: "a list", "null", "a number". */
export function describe(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (Array.isArray(value)) return "a list";
  return typeof value === "object" ? "an object" : `a ${typeof value}`;
}

/** The bytes of a file; null if it does not exist. @throws LorikeetError `model_invalid` for any other error, with the path. */
export async function readIfThere(path: string): Promise<Uint8Array | null> {
  try {
    return await readRegular(path);
  } catch (cause) {
    if (cause instanceof Error && "code" in cause && cause.code === "ENOENT") return null;
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new LorikeetError("model_invalid", `${path} cannot be read: ${reason}.`, { param: path, cause });
  }
}

/** Parses a JSON object. @throws LorikeetError `model_invalid` with the file and what was found instead. */
export function parseRecord(bytes: Uint8Array, path: string): Json {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new LorikeetError("model_invalid", `${path} is not valid JSON: it is not UTF-8.`, { param: path, cause });
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    const message = `${path} is not valid JSON: ${jsonBreak(text)}.`;
    throw new LorikeetError("model_invalid", message, { param: path, cause });
  }
  if (isObject(value)) return value;
  throw new LorikeetError("model_invalid", `${path} must hold a JSON object, but holds ${describe(value)}.`, {
    param: path,
    found: describe(value),
  });
}
