/** Reads what `--json` prints back into the types of the source, whose names are camelCase. */

import { isObject } from "../../src/base/json.js";

export function readPrinted<T>(text: string): T {
  return JSON.parse(text, (_key, value: unknown) => {
    if (!isObject(value)) return value;
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [camelCase(key), item]));
  });
}

const camelCase = (name: string): string => name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());

/** The path of every key in printed JSON; items of a list share theirs. */
export function keysOf(value: unknown, path = ""): string[] {
  if (Array.isArray(value)) return [...new Set(value.flatMap((item) => keysOf(item, path)))];
  if (!isObject(value)) return [];
  return Object.entries(value).flatMap(([key, item]) => [`${path}${key}`, ...keysOf(item, `${path}${key}.`)]);
}
