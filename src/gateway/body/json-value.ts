/** Checks values that were parsed from JSON text inside a body: `parse` has not seen into it. */
import { Wrong } from "./custom-field.js";
import { maxDepth } from "./parse.js";

/** JSON.parse nests without end, and reads 1e400 as infinity, which JSON cannot write. */
export function faultInside(value: unknown, depth = 0): Wrong | null {
  if (typeof value === "number" && !Number.isFinite(value)) {
    return new Wrong("must have numbers up to 1.8e308 only", "a larger one");
  }
  if (typeof value !== "object" || value === null) return null;
  if (depth > maxDepth) return new Wrong(`must be nested at most ${maxDepth} levels deep`, "a deeper value");
  for (const item of Object.values(value)) {
    const fault = faultInside(item, depth + 1);
    if (fault) return fault;
  }
  return null;
}

/** null where the text is not JSON. */
export function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
