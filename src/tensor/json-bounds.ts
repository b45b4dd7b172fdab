/**
 * Bounds on untrusted JSON that JSON.parse does not check: nesting depth, size and duplicate keys. One pass over the characters,
 * before anything is allocated. Does not validate: JSON.parse does.
 */

export interface JsonLimits {
  readonly maxDepth: number;
  /** Objects, lists, keys and commas together: the memory of the parsed value grows with their number. */
  readonly maxParts: number;
}

export interface JsonBounds {
  readonly depth: number;
  /** Objects, lists, keys and commas. */
  readonly parts: number;
  /** Keys that occur more than once in an object, each listed once. */
  readonly duplicates: readonly string[];
}

const quote = 34;
const backslash = 92;
const comma = 44;
const colon = 58;
const openBrace = 123;
const closeBrace = 125;
const openBracket = 91;
const closeBracket = 93;

/** Index just past the string that starts at `start`, or the text's length when it never ends. */
function endOfString(text: string, start: number): number {
  for (let i = start + 1; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === backslash) i++;
    else if (code === quote) return i + 1;
  }
  return text.length;
}

function isFollowedByColon(text: string, index: number): boolean {
  let at = index;
  while (at < text.length && text.charCodeAt(at) <= 32) at++;
  return text.charCodeAt(at) === colon;
}

function unescapeKey(raw: string): string {
  if (!raw.includes("\\")) return raw.slice(1, -1);
  try {
    return String(JSON.parse(raw));
  } catch {
    return raw; // JSON.parse of the whole text reports the error
  }
}

/** Measures `text`. Stops as soon as it exceeds a limit, with the counts so far. */
export function jsonBounds(text: string, { maxDepth, maxParts }: JsonLimits): JsonBounds {
  const open: (Set<string> | null)[] = []; // the keys of each open container, once it has one
  const duplicates = new Set<string>();
  let depth = 0;
  let parts = 0;
  for (let i = 0; i < text.length && depth <= maxDepth && parts <= maxParts; i++) {
    const code = text.charCodeAt(i);
    if (code === openBrace || code === openBracket) {
      open.push(null);
      parts++;
      depth = Math.max(depth, open.length);
    } else if (code === closeBrace || code === closeBracket) {
      open.pop();
    } else if (code === quote) {
      const end = endOfString(text, i);
      if (isFollowedByColon(text, end)) {
        const key = unescapeKey(text.slice(i, end));
        const seen = open.at(-1) ?? new Set();
        if (seen.has(key)) duplicates.add(key);
        seen.add(key);
        if (open.length > 0) open[open.length - 1] = seen;
        parts++;
      }
      i = end - 1;
    } else if (code === comma) parts++;
  }
  return { depth, parts, duplicates: [...duplicates] };
}
