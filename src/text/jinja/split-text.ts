/** str.split, str.rsplit and str.replace. */

import { spend, spendCharacters } from "./budget.js";
import { valueFault } from "./faults.js";
import { codePoints, isSpace } from "./unicode.js";

/** Splits from the left, at most `times` times unless negative; without a separator at runs of white space. */
export function splitText(text: string, separator: string | null, times: number): string[] {
  spendCharacters(text.length);
  if (separator === null) return splitSpaces(text, times);
  if (separator === "") valueFault("empty separator");
  const parts = text.split(separator);
  spend(parts.length);
  if (times < 0 || parts.length <= times + 1) return parts;
  return [...parts.slice(0, times), parts.slice(times).join(separator)];
}

/** Splits from the right. */
export function splitTextRight(text: string, separator: string | null, times: number): string[] {
  spendCharacters(text.length);
  if (separator === null) return times < 0 ? splitSpaces(text, times) : splitSpacesRight(text, times);
  if (separator === "") valueFault("empty separator");
  const parts: string[] = [];
  let end = text.length;
  while (times < 0 || parts.length < times) {
    const at = end < separator.length ? -1 : text.lastIndexOf(separator, end - separator.length);
    if (at < 0) break;
    spend();
    parts.push(text.slice(at + separator.length, end));
    end = at;
  }
  parts.push(text.slice(0, end));
  return parts.reverse();
}

function splitSpaces(text: string, times: number): string[] {
  const parts: string[] = [];
  let at = 0;
  while (true) {
    while (at < text.length && isSpace(text.charCodeAt(at))) at++;
    if (at >= text.length) return parts;
    if (times >= 0 && parts.length >= times) return [...parts, text.slice(at)];
    spend();
    const begin = at;
    while (at < text.length && !isSpace(text.charCodeAt(at))) at++;
    parts.push(text.slice(begin, at));
  }
}

function splitSpacesRight(text: string, times: number): string[] {
  const parts: string[] = [];
  let end = text.length;
  while (true) {
    while (end > 0 && isSpace(text.charCodeAt(end - 1))) end--;
    if (end === 0) break;
    if (parts.length >= times) {
      parts.push(text.slice(0, end));
      break;
    }
    spend();
    const stop = end;
    while (end > 0 && !isSpace(text.charCodeAt(end - 1))) end--;
    parts.push(text.slice(end, stop));
  }
  return parts.reverse();
}

/** Replaces from the left, at most `times` times unless negative. An empty `from` matches between all characters. */
export function replaceText(text: string, from: string, to: string, times: number): string {
  spendCharacters(text.length);
  const parts = from === "" ? ["", ...codePoints(text), ""] : text.split(from);
  const replaced = Math.min(times < 0 ? Number.POSITIVE_INFINITY : times, parts.length - 1);
  if (replaced === 0) return text;
  spendCharacters(replaced * to.length);
  spend(parts.length);
  const head = parts.slice(0, replaced + 1).join(to);
  return [head, ...parts.slice(replaced + 1)].join(from);
}
