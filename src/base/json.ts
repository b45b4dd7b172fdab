/** Unvalidated JSON values: their kind, and how messages show them. */

export type Json = Readonly<Record<string, unknown>>;

/** Whether a value is a JSON object: not null and not a list. */
export function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A value for a message: as JSON, truncated. */
export function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}
