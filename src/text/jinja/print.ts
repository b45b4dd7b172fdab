/** str() and repr() of every value. */

import { codePointAt } from "../characters.js";
import { nested, spend, spendCharacters } from "./budget.js";
import { reprFloat } from "./decimal.js";
import { iterate } from "./sequences.js";
import {
  Callable,
  Dict,
  Float,
  Iter,
  isList,
  isText,
  Markup,
  Range,
  Tuple,
  textOf,
  Undefined,
  type Value,
  View,
} from "./values.js";

/** A fixed address. In Python it differs between processes, so no template can rely on it. */
const address = "0x7f0000000000";

export function str(value: Value): string {
  if (typeof value === "string") return value;
  if (value instanceof Undefined) return "";
  return isText(value) ? textOf(value) : repr(value);
}

export function repr(value: Value): string {
  spend();
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value === "string") return quote(value);
  if (typeof value === "number" || typeof value === "bigint") return String(value);
  if (value instanceof Float) return reprFloat(value.value);
  return nested(() => reprObject(value));
}

function reprObject(value: Exclude<Value, null | boolean | string | number | bigint | Float>): string {
  if (value instanceof Markup) return `Markup(${quote(value.text)})`;
  if (isList(value)) return `[${value.map(repr).join(", ")}]`;
  if (value instanceof Tuple) return reprTuple(value.items);
  if (value instanceof Dict) return reprDict(value);
  if (value instanceof Range) return reprRange(value);
  if (value instanceof View) return `dict_${value.kind}([${Array.from(iterate(value), repr).join(", ")}])`;
  if (value instanceof Undefined) return "Undefined";
  if (value instanceof Callable) return value.description;
  if (value instanceof Iter) return `<${value.typeName} object at ${address}>`;
  return value.describe();
}

const reprTuple = (items: readonly Value[]): string =>
  `(${items.map(repr).join(", ")}${items.length === 1 ? "," : ""})`;

export const reprDict = ({ entries }: Dict): string =>
  `{${Array.from(entries.values(), ([key, value]) => `${repr(key)}: ${repr(value)}`).join(", ")}}`;

const reprRange = ({ start, stop, step }: Range): string =>
  step === 1 ? `range(${start}, ${stop})` : `range(${start}, ${stop}, ${step})`;

const named: Readonly<Record<string, string>> = { "\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\" };
const unprintable = /[\p{C}\p{Zl}\p{Zp}\p{Zs}\\]/gu;

/** A text quoted as Python does: in single quotes, unless it contains single but no double quotes. */
export function quote(text: string): string {
  spendCharacters(text.length);
  const mark = text.includes("'") && !text.includes('"') ? '"' : "'";
  const inside = text.replace(unprintable, escaped);
  return mark + (mark === "'" ? inside.replaceAll("'", "\\'") : inside) + mark;
}

function escaped(character: string): string {
  return character === " " ? character : (named[character] ?? escapeCode(character));
}

/** A character as a \x, \u or \U escape. */
export function escapeCode(character: string): string {
  const code = codePointAt(character);
  if (code < 0x100) return `\\x${code.toString(16).padStart(2, "0")}`;
  if (code < 0x10000) return `\\u${code.toString(16).padStart(4, "0")}`;
  return `\\U${code.toString(16).padStart(8, "0")}`;
}

/** ascii(): repr with everything beyond ASCII escaped. */
export const ascii = (value: Value): string => repr(value).replace(/[^\p{ASCII}]/gu, escapeCode);
