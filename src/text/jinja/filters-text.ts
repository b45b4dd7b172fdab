/** The filters that return a text. */

import { at } from "../../base/list.js";
import { type Bound, intArgument, optionalText, textArgument } from "./arguments.js";
import { spendCharacters } from "./budget.js";
import { dictOf } from "./container-methods.js";
import { toFloat } from "./convert.js";
import { typeFault, valueFault } from "./faults.js";
import { attributeGetter } from "./filter-access.js";
import { type FilterTable, taking } from "./filter-table.js";
import { escaped, escapeText } from "./markup.js";
import { truncate } from "./numbers.js";
import { percentFormat } from "./percent.js";
import { str } from "./print.js";
import { isIterable, iterate, listOf, sizeOf, slice, truth } from "./sequences.js";
import { replaceText, splitTextRight } from "./split-text.js";
import { centered, joinTexts, padText, repeatText } from "./text-methods.js";
import { type JsonStyle, separatorsOf, toJson } from "./to-json.js";
import { capitalize, lengthOf, spaceClass, splitLines, strip } from "./unicode.js";
import {
  type Arguments,
  Dict,
  Float,
  isText,
  Markup,
  Tuple,
  textOf,
  typeName,
  Undefined,
  type Value,
} from "./values.js";
import { wrapLines } from "./wrap.js";

/** A text or Markup as it is; anything else as its str(). */
const soft = (value: Value): string | Markup => (isText(value) ? value : str(value));

function change(value: Value, apply: (text: string) => string): string | Markup {
  const text = soft(value);
  spendCharacters(textOf(text).length);
  return text instanceof Markup ? new Markup(apply(text.text)) : apply(text);
}

const wordStart = new RegExp(`([-${spaceClass}({\\[<]+)`, "u");

const titled = (text: string): string =>
  text
    .split(wordStart)
    .map((word) => {
      const [first = ""] = word;
      return first.toUpperCase() + word.slice(first.length).toLowerCase();
    })
    .join("");

function indented(value: Value, width: Value, first: boolean, blank: boolean): string {
  if (value instanceof Undefined) value.fail();
  const text = textArgument(value);
  const indention = isText(width) ? textOf(width) : repeatText(" ", intArgument(width, 4));
  const lines = splitLines(`${text}\n`);
  spendCharacters(lines.length * indention.length);
  const [head = "", ...rest] = lines;
  const tail = rest.map((line) => (line !== "" || blank ? indention + line : line));
  return (first ? indention : "") + [head, ...tail].join("\n");
}

function truncated(text: string, length: number, killWords: boolean, end: string, leeway: number): string {
  if (length < lengthOf(end)) valueFault(`expected length >= ${lengthOf(end)}, got ${length}`);
  if (leeway < 0) valueFault(`expected leeway >= 0, got ${leeway}`);
  if (lengthOf(text) <= length + leeway) return text;
  const cut = textArgument(slice(text, null, length - lengthOf(end), null));
  return (killWords ? cut : at(splitTextRight(cut, " ", 1), 0)) + end;
}

function urlQuote(value: Value, forQuery: boolean): string {
  const safe = forQuery ? /[A-Za-z0-9_.~-]/ : /[A-Za-z0-9_.~/-]/;
  let out = "";
  for (const byte of new TextEncoder().encode(str(value))) {
    const character = String.fromCharCode(byte);
    if (byte < 0x80 && safe.test(character)) out += character;
    else out += forQuery && character === " " ? "+" : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  spendCharacters(out.length);
  return out;
}

function urlEncoded(value: Value): string {
  if (isText(value) || !isIterable(value)) return urlQuote(value, false);
  const pairs = value instanceof Dict ? [...value.entries.values()] : listOf(value).map(pairOf);
  return pairs.map(([key, item]) => `${urlQuote(key, true)}=${urlQuote(item, true)}`).join("&");
}

function pairOf(value: Value): readonly [Value, Value] {
  const [key, item, ...more] = listOf(value);
  return key === undefined || item === undefined || more.length > 0 ? valueFault("expected pairs") : [key, item];
}

const sizeUnits = ["k", "M", "G", "T", "P", "E", "Z", "Y"];

function fileSize(bytes: number, binary: boolean): string {
  const base = binary ? 1024 : 1000;
  if (bytes === 1) return "1 Byte";
  if (bytes < base) return `${truncate(bytes)} Bytes`;
  const fitting = sizeUnits.findIndex((_, i) => bytes < base ** (i + 2));
  const unit = fitting < 0 ? sizeUnits.length - 1 : fitting;
  const letter = at(sizeUnits, unit);
  const scaled = percentFormat("%.1f", new Float((base * bytes) / base ** (unit + 2)));
  return `${scaled} ${binary ? `${letter.toUpperCase()}iB` : `${letter}B`}`;
}

const words = /[\p{L}\p{N}_]+/gu;

function formatted(value: Value, { positional, keyword }: Arguments): string | Markup {
  if (positional.length > 0 && keyword.size > 0) typeFault("format takes positional or keyword arguments, not both");
  const text = soft(value);
  const given = keyword.size > 0 ? dictOf(keyword) : new Tuple(positional);
  if (text instanceof Markup) return new Markup(percentFormat(text.text, given, escaped));
  return percentFormat(text, given);
}

function joined(value: Value, separator: Value, attribute: Value): string {
  const get = attribute === null ? null : attributeGetter(attribute);
  const texts: string[] = [];
  for (const item of iterate(value)) texts.push(str(get ? get(item) : item));
  return joinTexts(str(separator), texts);
}

function xmlAttributes(value: Value, leadingSpace: boolean): string {
  if (!(value instanceof Dict)) return typeFault(`'${typeName(value)}' object has no attribute 'items'`);
  const parts: string[] = [];
  for (const [key, item] of value.entries.values()) {
    if (item === null || item instanceof Undefined) continue;
    if (/[ \t\n\r\f\v/>=]/.test(textArgument(key))) valueFault(`Invalid character in attribute name: ${str(key)}`);
    parts.push(`${escaped(key)}="${escaped(item)}"`);
  }
  return (leadingSpace && parts.length > 0 ? " " : "") + joinTexts(" ", parts);
}

function jsonStyle([ensureAscii, indent, separators, sortKeys]: Bound): JsonStyle {
  const level =
    indent === undefined || indent === null
      ? null
      : isText(indent)
        ? textOf(indent)
        : repeatText(" ", intArgument(indent, 0));
  const pair = separators === undefined || separators === null ? null : separatorsOf(listOf(separators));
  return {
    ensureAscii: truth(ensureAscii ?? false),
    indent: level,
    itemSeparator: pair?.[0] ?? (level === null ? ", " : ","),
    keySeparator: pair?.[1] ?? ": ",
    sortKeys: truth(sortKeys ?? false),
  };
}

const escapeOnce = taking("", (value) => (value instanceof Markup ? value : new Markup(escaped(value))));

export const textFilters: FilterTable = {
  capitalize: taking("", (value) => change(value, capitalize)),
  center: taking("width?", (value, [width]) =>
    change(value, (text) => padText(text, intArgument(width, 80), " ", centered)),
  ),
  e: escapeOnce,
  escape: escapeOnce,
  filesizeformat: taking("binary?", (value, [binary = false]) => fileSize(toFloat(value), truth(binary))),
  forceescape: taking("", (value) => new Markup(escapeText(str(value)))),
  format: formatted,
  indent: taking("width? first? blank?", (value, [width = 4, first = false, blank = false]) => {
    const text = indented(value, width, truth(first), truth(blank));
    return value instanceof Markup ? new Markup(text) : text;
  }),
  join: taking("d? attribute?", (value, [separator = "", attribute = null]) => joined(value, separator, attribute)),
  lower: taking("", (value) => change(value, (text) => text.toLowerCase())),
  replace: taking("old new count?", (value, [from = null, to = null, times = null]) =>
    replaceText(str(value), str(from), str(to), times === null ? -1 : intArgument(times, -1)),
  ),
  safe: taking("", (value) => (value instanceof Markup ? value : new Markup(str(value)))),
  string: taking("", soft),
  title: taking("", (value) => titled(textOf(soft(value)))),
  tojson: taking("ensure_ascii? indent? separators? sort_keys?", (value, args) => toJson(value, jsonStyle(args))),
  trim: taking("chars?", (value, [chars]) => change(value, (text) => strip(text, optionalText(chars)))),
  truncate: taking(
    "length? killwords? end? leeway?",
    (value, [length, killWords = false, end = "...", leeway = null]) => {
      const slack = leeway === null ? 5 : intArgument(leeway, 5);
      if (!isText(value)) {
        const size = sizeOf(value) ?? typeFault(`object of type '${typeName(value)}' has no len()`);
        const fits = size <= intArgument(length, 255) + slack;
        return fits ? value : typeFault(`'${typeName(value)}' object cannot be truncated`);
      }
      return truncated(textOf(value), intArgument(length, 255), truth(killWords), textArgument(end), slack);
    },
  ),
  upper: taking("", (value) => change(value, (text) => text.toUpperCase())),
  urlencode: taking("", urlEncoded),
  wordcount: taking("", (value) => str(value).match(words)?.length ?? 0),
  wordwrap: taking(
    "width? break_long_words? wrapstring? break_on_hyphens?",
    (value, [width, long = true, joint = null, hyphens = true]) =>
      wrapLines(textArgument(value), {
        width: intArgument(width, 79),
        joint: joint === null ? "\n" : textArgument(joint),
        breakLongWords: truth(long),
        breakOnHyphens: truth(hyphens),
      }),
  ),
  xmlattr: taking("autospace?", (value, [autospace = true]) => xmlAttributes(value, truth(autospace))),
};
