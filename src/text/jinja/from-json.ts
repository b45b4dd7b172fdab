/** Converts JSON to template values. */

import { fault } from "./faults.js";
import { Dict, Float, type HashKey, type Value } from "./values.js";

/** Deeper than any real message or tool. */
const maxDepth = 90;

/**
 * An integral number becomes an int, any other a float: JSON.parse does not distinguish 1.0 from 1.
 * @throws TemplateFault `LimitError` for a value nested deeper than 90 levels.
 */
export function fromJson(value: unknown, depth = 0): Value {
  if (depth > maxDepth) fault("LimitError", `a value nests more than ${maxDepth} levels deep`);
  if (value === null || value === undefined) return null;
  if (typeof value === "string" || typeof value === "boolean") return value;
  if (typeof value === "number") return Number.isSafeInteger(value) && !Object.is(value, -0) ? value : new Float(value);
  if (Array.isArray(value)) return value.map((item) => fromJson(item, depth + 1));
  const entries = new Map<HashKey, readonly [Value, Value]>();
  for (const [key, item] of Object.entries(value)) {
    if (item !== undefined) entries.set(key.startsWith("\0") ? `\0s${key}` : key, [key, fromJson(item, depth + 1)]);
  }
  return new Dict(entries);
}
