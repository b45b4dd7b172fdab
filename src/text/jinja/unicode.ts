/** Python's view of characters: code points, white space, classes and case. */

import { codePointAt } from "../characters.js";
import { spendCharacters } from "./budget.js";

/** Python's white space, for a character class. JavaScript's includes U+FEFF and lacks U+001C to U+001F and U+0085. */
export const spaceClass = "\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";

const space = new RegExp(`^[${spaceClass}]$`);
const spaces = new Set(Array.from({ length: 0x3001 }, (_, code) => code).filter((code) => isSpaceText(code)));

function isSpaceText(code: number): boolean {
  return space.test(String.fromCharCode(code));
}

/** Whether a UTF-16 code unit is white space; all of Python's lies below U+10000. */
export const isSpace = (unit: number): boolean => spaces.has(unit);

const surrogate = /[\ud800-\udfff]/;

/** Whether the numbers of code units and code points may differ. */
export function hasSurrogates(text: string): boolean {
  spendCharacters(text.length);
  return surrogate.test(text);
}

export function codePoints(text: string): string[] {
  spendCharacters(text.length);
  return Array.from(text);
}

export function lengthOf(text: string): number {
  if (!hasSurrogates(text)) return text.length;
  let count = 0;
  for (const _ of text) count++;
  return count;
}

/** Compares by code points, where JavaScript compares by code units. */
export function compareTexts(a: string, b: string): number {
  const shorter = Math.min(a.length, b.length);
  let at = 0;
  while (at < shorter && a.charCodeAt(at) === b.charCodeAt(at)) at++;
  spendCharacters(at);
  if (at === shorter) return a.length - b.length;
  return rank(a.charCodeAt(at)) - rank(b.charCodeAt(at));
}

/** Surrogates represent code points above all others. */
const rank = (unit: number): number => (unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit);

/** The lines of a text, split at Python's nine kinds of line ends. */
export function splitLines(text: string, keepEnds = false): string[] {
  spendCharacters(text.length);
  const lines: string[] = [];
  let begin = 0;
  for (let at = 0; at < text.length; at++) {
    if (!isLineEnd(text.charCodeAt(at))) continue;
    const end = text.startsWith("\r\n", at) ? at + 2 : at + 1;
    lines.push(text.slice(begin, keepEnds ? end : at));
    begin = end;
    at = end - 1;
  }
  if (begin < text.length) lines.push(text.slice(begin));
  return lines;
}

const isLineEnd = (unit: number): boolean =>
  (unit >= 0x0a && unit <= 0x0d) ||
  (unit >= 0x1c && unit <= 0x1e) ||
  unit === 0x85 ||
  unit === 0x2028 ||
  unit === 0x2029;

/** The range [begin, end) left after stripping; `chars` null means white space. */
function stripBounds(text: string, chars: string | null, sides: "left" | "right" | "both"): [number, number] {
  spendCharacters(chars?.length ?? 0);
  const set = chars === null ? null : new Set(chars);
  const drops = (at: number, width: number): boolean =>
    set === null ? spaces.has(text.charCodeAt(at)) : set.has(text.slice(at, at + width));
  let [begin, end] = [0, text.length];
  if (sides !== "right") {
    for (let width = widthAt(text, begin); begin < end && drops(begin, width); width = widthAt(text, begin))
      begin += width;
  }
  if (sides !== "left") {
    for (let width = widthBefore(text, end); begin < end && drops(end - width, width); width = widthBefore(text, end)) {
      end -= width;
    }
  }
  spendCharacters(text.length - (end - begin));
  return [begin, end];
}

export function strip(text: string, chars: string | null = null, sides: "left" | "right" | "both" = "both"): string {
  return text.slice(...stripBounds(text, chars, sides));
}

const isHigh = (unit: number): boolean => unit >= 0xd800 && unit <= 0xdbff;
const isLow = (unit: number): boolean => unit >= 0xdc00 && unit <= 0xdfff;
const widthAt = (text: string, at: number): number =>
  isHigh(text.charCodeAt(at)) && isLow(text.charCodeAt(at + 1)) ? 2 : 1;
const widthBefore = (text: string, at: number): number =>
  at > 1 && isLow(text.charCodeAt(at - 1)) && isHigh(text.charCodeAt(at - 2)) ? 2 : 1;

const digraphs = new Map([
  ["\u01c4\u01c5\u01c6", "\u01c5"],
  ["\u01c7\u01c8\u01c9", "\u01c8"],
  ["\u01ca\u01cb\u01cc", "\u01cb"],
  ["\u01f1\u01f2\u01f3", "\u01f2"],
]);

/** The title case of one character, which differs from its upper case for ligatures, digraphs, Greek and Georgian. */
function titleCase(character: string): string {
  if (character === "" || character === "\u0149") return character.toUpperCase();
  for (const [family, title] of digraphs) if (family.includes(character)) return title;
  if (/[\u10d0-\u10ff]/.test(character)) return character;
  const upper = character.toUpperCase();
  if (/[\u1f80-\u1fff]/.test(character) && upper.length > 1 && upper.endsWith("\u0399")) {
    const title = `${upper.slice(0, -1)}\u0345`;
    return upper.length === 2 ? title.normalize("NFC") : title;
  }
  const [first = "", ...rest] = upper;
  return first + rest.join("").toLowerCase();
}

/** str.capitalize: the first character in title case, the rest in lower case. */
export function capitalize(text: string): string {
  const [first = ""] = text;
  return titleCase(first) + lowerAfter(first, text.slice(first.length));
}

/** Lower case within a word: a final sigma depends on the preceding text. */
const lowerAfter = (before: string, text: string): string =>
  (before + text).toLowerCase().slice(before.toLowerCase().length);

const cased = /\p{Cased}/u;

/** str.title: every letter after an uncased character in title case. */
export function titleWords(text: string): string {
  let [out, inWord] = ["", false];
  const lower = text.toLowerCase();
  const aligned = lower.length === text.length;
  let at = 0;
  for (const character of text) {
    const low = aligned ? lower.slice(at, at + character.length) : character.toLowerCase();
    out += inWord ? low : titleCase(character);
    inWord = cased.test(character);
    at += character.length;
  }
  return out;
}

/** str.swapcase. */
export function swapCase(text: string): string {
  let out = "";
  for (const character of text) {
    if (/\p{Uppercase}/u.test(character)) out += character.toLowerCase();
    else out += /\p{Lowercase}/u.test(character) ? character.toUpperCase() : character;
  }
  return out;
}

/** str.casefold: Cherokee folds to upper case, and a dotless i stays. */
export function caseFold(text: string): string {
  return text.replace(/[\u13a0-\u13ff\uab70-\uabbf]|\u0131|[^\u0131\u13a0-\u13ff\uab70-\uabbf]+/g, (part) => {
    if (part === "\u0131") return part;
    const upper = part.toUpperCase();
    return /^[\u13a0-\u13ff]/.test(upper) ? upper : upper.toLowerCase().replaceAll("ς", "σ");
  });
}

/** Characters of the numeric type "digit" that are not decimals: superscripts, circled digits and so on. */
const otherDigits =
  "\\u00b2\\u00b3\\u00b9\\u1369-\\u1371\\u19da\\u2070\\u2074-\\u2079\\u2080-\\u2089\\u2460-\\u2468\\u2474-\\u247c\\u2488-\\u2490\\u24ea\\u24f5-\\u24fd\\u24ff\\u2776-\\u277e\\u2780-\\u2788\\u278a-\\u2792\\u{10a40}-\\u{10a43}\\u{10e60}-\\u{10e68}\\u{11052}-\\u{1105a}\\u{1f100}-\\u{1f10a}";

/** Ideographs of numbers. */
const numerals =
  "\\u3405\\u3483\\u382a\\u3b4d\\u4e00\\u4e03\\u4e07\\u4e09\\u4e5d\\u4e8c\\u4e94\\u4e96\\u4ebf\\u4ec0\\u4edf\\u4ee8\\u4f0d\\u4f70\\u5104\\u5146\\u5169\\u516b\\u516d\\u5341\\u5343-\\u5345\\u534c\\u53c1-\\u53c4\\u56db\\u58f1\\u58f9\\u5e7a\\u5efe\\u5eff\\u5f0c-\\u5f0e\\u5f10\\u62fe\\u634c\\u67d2\\u6f06\\u7396\\u767e\\u8086\\u842c\\u8cae\\u8cb3\\u8d30\\u9621\\u9646\\u964c\\u9678\\u96f6\\uf96b\\uf973\\uf978\\uf9b2\\uf9d1\\uf9d3\\uf9fd\\u{20001}\\u{20064}\\u{200e2}\\u{20121}\\u{2092a}\\u{20983}\\u{2098c}\\u{2099c}\\u{20aea}\\u{20afd}\\u{20b19}\\u{22390}\\u{22998}\\u{23b1b}\\u{2626d}\\u{2f890}";

const whole = (inside: string): RegExp => new RegExp(`^[${inside}]+$`, "u");

const classes = {
  isalnum: whole("\\p{L}\\p{N}"),
  isalpha: whole("\\p{L}"),
  isascii: /^\p{ASCII}*$/u,
  isdecimal: whole("\\p{Nd}"),
  isdigit: whole(`\\p{Nd}${otherDigits}`),
  isidentifier: /^[\p{XIDS}_]\p{XIDC}*$/u,
  isnumeric: whole(`\\p{N}${numerals}`),
  isprintable: /^(?:[^\p{C}\p{Z}]| )*$/u,
  isspace: whole(spaceClass),
} as const;

export type CharacterClass = keyof typeof classes | "islower" | "isupper" | "istitle";

export const characterClasses: readonly CharacterClass[] = [
  "isalnum",
  "isalpha",
  "isascii",
  "isdecimal",
  "isdigit",
  "isidentifier",
  "isnumeric",
  "isprintable",
  "isspace",
  "islower",
  "isupper",
  "istitle",
];

/** str.isalpha and similar methods, for the whole text. */
export function isOfClass(text: string, name: CharacterClass): boolean {
  spendCharacters(text.length);
  if (name === "islower") return /\p{Lowercase}/u.test(text) && !/[\p{Uppercase}\p{Lt}]/u.test(text);
  if (name === "isupper") return /\p{Uppercase}/u.test(text) && !/[\p{Lowercase}\p{Lt}]/u.test(text);
  if (name === "istitle") return isTitle(text);
  return classes[name].test(text);
}

function isTitle(text: string): boolean {
  let [found, inWord] = [false, false];
  for (const character of text) {
    const upper = /[\p{Uppercase}\p{Lt}]/u.test(character);
    const lower = /\p{Lowercase}/u.test(character);
    if ((upper && inWord) || (lower && !inWord)) return false;
    inWord = upper || lower;
    found ||= inWord;
  }
  return found;
}

/** The value of a decimal digit of any script: each script's ten digits are consecutive. */
export function digitValue(character: string): number | null {
  if (character >= "0" && character <= "9") return character.charCodeAt(0) - 48;
  if (!/^\p{Nd}$/u.test(character)) return null;
  const code = codePointAt(character);
  let start = code;
  while (/^\p{Nd}$/u.test(String.fromCodePoint(start - 1))) start--;
  return (code - start) % 10;
}
