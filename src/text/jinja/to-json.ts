/** The `tojson` filter as transformers defines it: json.dumps without HTML escapes, non-ASCII kept. */

import { nested, spend, spendCharacters } from "./budget.js";
import { reprFloat } from "./decimal.js";
import { typeFault, valueFault } from "./faults.js";
import { repeatText } from "./text-methods.js";
import { compareTexts } from "./unicode.js";
import { Dict, Float, isList, isText, Tuple, textOf, typeName, type Value } from "./values.js";

export interface JsonStyle {
  readonly ensureAscii: boolean;
  /** The indentation of each level; null for one line. */
  readonly indent: string | null;
  readonly itemSeparator: string;
  readonly keySeparator: string;
  readonly sortKeys: boolean;
}

/** @throws TypeError for values that JSON cannot represent, such as undefined ones. */
export function toJson(value: Value, style: JsonStyle): string {
  return write(value, style, 0);
}

function write(value: Value, style: JsonStyle, level: number): string {
  spend();
  if (value === null) return "null";
  if (typeof value === "boolean" || typeof value === "number" || typeof value === "bigint") return String(value);
  if (value instanceof Float) return floatText(value.value);
  if (isText(value)) return quote(textOf(value), style);
  if (isList(value)) return nested(() => writeList(value, style, level));
  if (value instanceof Tuple) return nested(() => writeList(value.items, style, level));
  if (value instanceof Dict) return nested(() => writeDict(value, style, level));
  return typeFault(`Object of type ${typeName(value)} is not JSON serializable`);
}

function floatText(value: number): string {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "Infinity" : "-Infinity";
  return reprFloat(value);
}

function writeList(items: readonly Value[], style: JsonStyle, level: number): string {
  return enclosed(
    "[",
    items.map((item) => write(item, style, level + 1)),
    "]",
    style,
    level,
  );
}

function writeDict({ entries }: Dict, style: JsonStyle, level: number): string {
  const pairs = [...entries.values()];
  if (style.sortKeys) pairs.sort(([a], [b]) => compareKeys(a, b));
  const members = pairs.map(([key, value]) => {
    return quote(keyText(key), style) + style.keySeparator + write(value, style, level + 1);
  });
  return enclosed("{", members, "}", style, level);
}

function enclosed(open: string, parts: readonly string[], close: string, style: JsonStyle, level: number): string {
  if (parts.length === 0) return open + close;
  if (style.indent === null) return open + parts.join(style.itemSeparator) + close;
  const line = `\n${repeatText(style.indent, level + 1)}`;
  spendCharacters(line.length * parts.length);
  return (
    open + line + parts.join(style.itemSeparator + line) + line.slice(0, line.length - style.indent.length) + close
  );
}

function keyText(key: Value): string {
  if (isText(key)) return textOf(key);
  if (key === null) return "null";
  if (typeof key === "boolean" || typeof key === "number" || typeof key === "bigint") return String(key);
  if (key instanceof Float) return floatText(key.value);
  return typeFault(`keys must be str, int, float, bool or None, not ${typeName(key)}`);
}

function compareKeys(a: Value, b: Value): number {
  if (isText(a) && isText(b)) return compareTexts(textOf(a), textOf(b));
  const [left, right] = [a, b].map((key) =>
    key instanceof Float ? key.value : typeof key === "boolean" ? Number(key) : key,
  );
  if (
    (typeof left === "number" || typeof left === "bigint") &&
    (typeof right === "number" || typeof right === "bigint")
  ) {
    return left < right ? -1 : left > right ? 1 : 0;
  }
  return typeFault(`'<' not supported between instances of '${typeName(a)}' and '${typeName(b)}'`);
}

const named: Readonly<Record<string, string>> = {
  '"': '\\"',
  "\\": "\\\\",
  "\n": "\\n",
  "\r": "\\r",
  "\t": "\\t",
  "\f": "\\f",
  "\b": "\\b",
};

/** Escapes controls below U+0020, quotes and backslashes; with `ensureAscii` also U+007F and everything beyond ASCII. */
function quote(text: string, { ensureAscii }: JsonStyle): string {
  spendCharacters(text.length);
  const pattern = ensureAscii ? /["\\]|[^ -~]/g : /["\\\p{Cc}]/gu;
  const escaped = text.replace(pattern, (character) => {
    const code = character.charCodeAt(0);
    if (code >= 0x7f && !ensureAscii) return character;
    if (code === 0x7f) return character;
    return named[character] ?? `\\u${code.toString(16).padStart(4, "0")}`;
  });
  return `"${escaped}"`;
}

/** The `separators` argument: a pair of texts. */
export function separatorsOf(items: readonly Value[]): [string, string] {
  const [item, key, ...more] = items;
  if (item === undefined || key === undefined || more.length > 0) return valueFault("separators must be a pair");
  if (!isText(item) || !isText(key)) return typeFault("separators must be strings");
  return [textOf(item), textOf(key)];
}
