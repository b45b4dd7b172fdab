/**
 * What JSON.parse does not say about untrusted JSON: how deep it nests and which keys come twice. One pass over the
 * characters, before anything is built. Validity itself stays JSON.parse's business.
 */

export interface JsonBounds {
  readonly depth: number;
  /** Keys that occur more than once in one object, each named once. */
  readonly duplicates: readonly string[];
}

const quote = 34;
const backslash = 92;
const colon = 58;

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
    return raw; // JSON.parse of the whole will say what is wrong
  }
}

/** Measures `text`; stops early, with the depth reached, as soon as it nests deeper than `maxDepth`. */
export function jsonBounds(text: string, maxDepth: number): JsonBounds {
  const keys: Set<string>[] = []; // one set an open container
  const duplicates = new Set<string>();
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    const character = text[i];
    if (character === "{" || character === "[") {
      keys.push(new Set());
      depth = Math.max(depth, keys.length);
      if (depth > maxDepth) break;
    } else if (character === "}" || character === "]") {
      keys.pop();
    } else if (character === '"') {
      const end = endOfString(text, i);
      if (isFollowedByColon(text, end)) {
        const key = unescapeKey(text.slice(i, end));
        const seen = keys.at(-1);
        if (seen?.has(key)) duplicates.add(key);
        seen?.add(key);
      }
      i = end - 1;
    }
  }
  return { depth, duplicates: [...duplicates] };
}
