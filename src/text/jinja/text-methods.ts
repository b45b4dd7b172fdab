/** The methods of str. On a Markup they return Markup. */

import { codePointAt } from "../characters.js";
import { type Bound, intArgument, optionalText, parameters, textArgument } from "./arguments.js";
import { spend, spendCharacters } from "./budget.js";
import { typeFault, valueFault } from "./faults.js";
import { escaped, marked } from "./markup.js";
import { iterate, listOf, slice, truth } from "./sequences.js";
import { replaceText, splitText, splitTextRight } from "./split-text.js";
import {
  capitalize,
  caseFold,
  characterClasses,
  codePoints,
  isOfClass,
  lengthOf,
  splitLines,
  strip,
  swapCase,
  titleWords,
} from "./unicode.js";
import { type Callable, Dict, isText, Markup, Tuple, textOf, typeName, type Value } from "./values.js";

interface Method {
  readonly bind: ReturnType<typeof parameters>;
  run(text: string, args: Bound): Value;
}

const method = (spec: string, run: Method["run"]): Method => ({ bind: parameters(spec), run });

/** A method without arguments whose result is as long as its text. */
const plain = (change: (text: string) => string): Method =>
  method("", (text) => {
    spendCharacters(text.length);
    return change(text);
  });

const stripped = (sides: "left" | "right" | "both"): Method =>
  method("/chars?", (text, [chars]) => strip(text, optionalText(chars), sides));

const padded = (left: (missing: number, width: number) => number): Method =>
  method("/width fill?", (text, [width = null, fill = " "]) =>
    padText(text, intArgument(width, 0), textArgument(fill), left),
  );

export function padText(
  text: string,
  width: number,
  fill: string,
  left: (missing: number, width: number) => number,
): string {
  if (lengthOf(fill) !== 1) typeFault("The fill character must be exactly one character long");
  const missing = width - lengthOf(text);
  if (missing <= 0) return text;
  spendCharacters(missing);
  const before = left(missing, width);
  return fill.repeat(before) + text + fill.repeat(missing - before);
}

/** The left padding of str.center, which decides where an odd space goes. */
export const centered = (missing: number, width: number): number => Math.floor(missing / 2) + (missing & width & 1);

/** The part of a text that `find` and similar methods search, and the number of characters before it; null past the end. */
function within(
  text: string,
  start: Value | undefined,
  stop: Value | undefined,
): { part: string; before: number } | null {
  if (isNothing(start) && isNothing(stop)) return { part: text, before: 0 };
  const length = lengthOf(text);
  const place = (value: Value | undefined, otherwise: number): number => {
    const at = isNothing(value) ? otherwise : intArgument(value, otherwise);
    return at < 0 ? Math.max(0, at + length) : at;
  };
  const [begin, end] = [place(start, 0), Math.min(place(stop, length), length)];
  if (begin > length || begin > end) return null;
  return { part: textArgument(slice(text, begin, end, null)), before: begin };
}

const isNothing = (value: Value | undefined): boolean => value === undefined || value === null;

function find(text: string, [sought, start, stop]: Bound, last: boolean): number {
  const needle = textArgument(sought);
  const range = within(text, start, stop);
  if (!range) return -1;
  spendCharacters(range.part.length);
  const at = last ? range.part.lastIndexOf(needle) : range.part.indexOf(needle);
  return at < 0 ? -1 : range.before + lengthOf(range.part.slice(0, at));
}

const found = (at: number): number => (at < 0 ? valueFault("substring not found") : at);

function count(text: string, [sought, start, stop]: Bound): number {
  const needle = textArgument(sought);
  const range = within(text, start, stop);
  if (!range) return 0;
  spendCharacters(range.part.length);
  return needle === "" ? lengthOf(range.part) + 1 : range.part.split(needle).length - 1;
}

/** One text or a tuple of them. */
function matches(name: "startsWith" | "endsWith"): Method["run"] {
  return (text, [affix = null, start, stop]) => {
    const range = within(text, start, stop);
    const affixes = affix instanceof Tuple ? affix.items : [affix];
    return affixes.map(textArgument).some((each) => range?.part[name](each) ?? false);
  };
}

function partition(text: string, separator: Value | undefined, last: boolean): Tuple {
  const mark = textArgument(separator);
  if (mark === "") valueFault("empty separator");
  spendCharacters(text.length);
  const at = last ? text.lastIndexOf(mark) : text.indexOf(mark);
  if (at < 0) return new Tuple(last ? ["", "", text] : [text, "", ""]);
  return new Tuple([text.slice(0, at), mark, text.slice(at + mark.length)]);
}

function expandTabs(text: string, size: number): string {
  let [out, column] = ["", 0];
  for (const character of codePoints(text)) {
    if (character === "\t") {
      const width = size > 0 ? size - (column % size) : 0;
      spendCharacters(width);
      out += " ".repeat(width);
      column += width;
    } else {
      out += character;
      column = character === "\n" || character === "\r" ? 0 : column + 1;
    }
  }
  return out;
}

function zeroFill(text: string, width: number): string {
  const missing = width - lengthOf(text);
  if (missing <= 0) return text;
  spendCharacters(missing);
  const sign = /^[+-]/.exec(text)?.[0] ?? "";
  return sign + "0".repeat(missing) + text.slice(sign.length);
}

export function joinTexts(separator: string, parts: Iterable<string>): string {
  const texts = [...parts];
  spendCharacters(texts.reduce((sum, text) => sum + text.length + separator.length, 0));
  return texts.join(separator);
}

function joinArgument(value: Value): string {
  return isText(value) ? textOf(value) : typeFault(`sequence item: expected str instance, ${typeName(value)} found`);
}

function translate(text: string, table: Value | undefined): string {
  if (!(table instanceof Dict)) return typeFault("translate() needs a dict");
  const replaced = codePoints(text).map((character) => {
    const entry = table.entries.get(codePointAt(character));
    if (!entry) return character;
    const [, to] = entry;
    if (to === null) return "";
    return typeof to === "number" ? String.fromCodePoint(to) : textArgument(to);
  });
  return joinTexts("", replaced);
}

const methods: Readonly<Record<string, Method>> = {
  capitalize: plain(capitalize),
  casefold: plain(caseFold),
  center: padded(centered),
  count: method("/sub start? end?", count),
  endswith: method("/suffix start? end?", matches("endsWith")),
  expandtabs: method("tabsize?", (text, [size]) => expandTabs(text, intArgument(size, 8))),
  find: method("/sub start? end?", (text, args) => find(text, args, false)),
  index: method("/sub start? end?", (text, args) => found(find(text, args, false))),
  join: method("/items", (text, [items = null]) => joinTexts(text, listOf(items).map(joinArgument))),
  ljust: padded(() => 0),
  lower: plain((text) => text.toLowerCase()),
  lstrip: stripped("left"),
  partition: method("/sep", (text, [separator]) => partition(text, separator, false)),
  removeprefix: method("/prefix", (text, [prefix]) => {
    const affix = textArgument(prefix);
    return text.startsWith(affix) ? text.slice(affix.length) : text;
  }),
  removesuffix: method("/suffix", (text, [suffix]) => {
    const affix = textArgument(suffix);
    return affix !== "" && text.endsWith(affix) ? text.slice(0, -affix.length) : text;
  }),
  replace: method("/old new count?", (text, [from, to, times]) =>
    replaceText(text, textArgument(from), textArgument(to), intArgument(times, -1)),
  ),
  rfind: method("/sub start? end?", (text, args) => find(text, args, true)),
  rindex: method("/sub start? end?", (text, args) => found(find(text, args, true))),
  rjust: padded((missing) => missing),
  rpartition: method("/sep", (text, [separator]) => partition(text, separator, true)),
  rsplit: method("sep? maxsplit?", (text, [separator, times]) =>
    splitTextRight(text, optionalText(separator), intArgument(times, -1)),
  ),
  rstrip: stripped("right"),
  split: method("sep? maxsplit?", (text, [separator, times]) =>
    splitText(text, optionalText(separator), intArgument(times, -1)),
  ),
  splitlines: method("keepends?", (text, [keepEnds = false]) => splitLines(text, truth(keepEnds))),
  startswith: method("/prefix start? end?", matches("startsWith")),
  strip: stripped("both"),
  swapcase: plain(swapCase),
  title: plain(titleWords),
  translate: method("/table", (text, [table]) => translate(text, table)),
  upper: plain((text) => text.toUpperCase()),
  zfill: method("/width", (text, [width = null]) => zeroFill(text, intArgument(width, 0))),
  ...Object.fromEntries(characterClasses.map((name) => [name, method("", (text) => isOfClass(text, name))])),
};

/** A method bound to its text; undefined if str has none of that name. */
export function textMethod(self: string | Markup, name: string): Callable["call"] | undefined {
  const text = textOf(self);
  const known = Object.hasOwn(methods, name) ? methods[name] : undefined;
  if (!known) return undefined;
  if (self instanceof Markup) return (args) => marked(known.run(text, escapeArguments(name, known.bind(args, name))));
  return (args) => known.run(text, known.bind(args, name));
}

/** Escapes the arguments of a Markup's method. */
function escapeArguments(name: string, args: Bound): Bound {
  if (name === "join") return [Array.from(iterate(args[0] ?? null), escaped), ...args.slice(1)];
  const place = { replace: 1, ljust: 1, rjust: 1, center: 1 }[name];
  return args.map((value, i) => (i === place && value !== undefined ? escaped(value) : value));
}

/** A text repeated. */
export function repeatText(text: string, times: number): string {
  if (times <= 0 || text === "") return "";
  spendCharacters(Math.min(text.length * times, Number.MAX_SAFE_INTEGER));
  spend();
  return text.repeat(times);
}
