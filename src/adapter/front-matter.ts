/**
 * The front matter of a model card: YAML between two lines of `---`, as model hubs read it. It is untrusted, and a YAML parser's time grows
 * with the square of the faults in a text, so only the examples are parsed, each by itself and within a bound.
 */
import { parse } from "yaml";
import { isObject, type Json } from "../base/json.js";

export interface SplitReadme {
  readonly matter: string;
  /** Markdown without the front matter. */
  readonly text: string;
}

/** Splits a README at the end of its front matter, if it has one. */
export function splitFrontMatter(readme: string): SplitReadme {
  const text = readme.replace(/^\uFEFF/, "");
  const found = /^---\r?\n([\s\S]*?)\r?\n---[ \t]*(?:\r?\n|$)/.exec(text);
  return found ? { matter: found[1] ?? "", text: text.slice(found[0].length) } : { matter: "", text };
}

const maxMatterCharacters = 2 ** 14;
/** A text of 4,096 characters, its title and its parameters. */
const maxEntryCharacters = 5000;

/** The first `most` entries of `widget`. Leaves out entries that are too long or not objects, and all that follow the second one that is not YAML. */
export function widgetEntries(matter: string, most: number): Json[] {
  if (matter.length > maxMatterCharacters) return [];
  const lines = matter.split(/\r?\n/);
  const start = lines.findIndex((line) => /^(?:widget|"widget"|'widget')[ \t]*:/.test(line));
  if (start < 0) return [];
  const rest = lines.slice(start + 1);
  const end = rest.findIndex((line) => /^[^\s#-]/.test(line));
  const block = end < 0 ? rest : rest.slice(0, end);
  const inline = (lines[start] ?? "").replace(/^[^:]*:[ \t]*/, "").replace(/^#.*/, "");
  const entries = inline === "" ? listItems(block) : [[inline, ...block].join("\n")];
  const found: unknown[] = [];
  for (let i = 0, wrong = 0; i < entries.length && found.length < most && wrong < 2; i++) {
    const items = parsedItems(entries[i] ?? "");
    if (items === null) wrong++;
    else found.push(...items);
  }
  return found.slice(0, most).filter(isObject);
}

/** The items of a block sequence, each with its dash. */
function listItems(lines: readonly string[]): string[] {
  const first = lines.find((line) => /^\s*-(?:\s|$)/.test(line));
  const indent = first?.slice(0, first.indexOf("-"));
  if (indent === undefined) return [];
  const items: string[][] = [];
  for (const line of lines) {
    if (line.startsWith(`${indent}-`) && /^(?:\s|$)/.test(line.slice(indent.length + 1))) items.push([line]);
    else items.at(-1)?.push(line);
  }
  return items.map((item) => item.join("\n"));
}

/** null for what is not YAML. */
function parsedItems(text: string): readonly unknown[] | null {
  if (text.length > maxEntryCharacters) return [];
  try {
    // Warnings would quote the text in the log.
    const value: unknown = parse(text, { maxAliasCount: 0, logLevel: "error", prettyErrors: false });
    return Array.isArray(value) ? value : [];
  } catch {
    return null;
  }
}
