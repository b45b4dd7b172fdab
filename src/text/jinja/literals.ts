/** Parses numbers of template literals and of int() and float(). */

import { TemplateSyntaxFault } from "./faults.js";
import type { Token } from "./lexer.js";
import { type Int, intOf } from "./numbers.js";
import { digitValue, strip } from "./unicode.js";
import { Float } from "./values.js";

export function integerLiteral({ text, line }: Token): Int {
  if (text.length > 4300) throw new TemplateSyntaxFault("a number of more than 4300 digits", line);
  return intOf(BigInt(ascii(text.replaceAll("_", ""))));
}

export const floatLiteral = (text: string): Float => new Float(Number(ascii(text.replaceAll("_", ""))));

/** Converts digits of any script to ASCII. */
function ascii(text: string): string {
  return text.replace(/[^\p{ASCII}]/gu, (character) => String(digitValue(character) ?? character));
}

const alphabet = "0123456789abcdefghijklmnopqrstuvwxyz";
const prefixes: Readonly<Record<string, number>> = { "0b": 2, "0o": 8, "0x": 16 };

/** int(text, base); null where Python raises a ValueError. Base 0 uses the prefix. */
export function parseInteger(text: string, base: number): Int | null {
  const plain = ascii(strip(text)).toLowerCase();
  let digits = plain.replace(/^[+-]/, "");
  const prefix = prefixes[digits.slice(0, 2)];
  if (prefix !== undefined && (base === 0 || base === prefix)) {
    digits = digits.slice(2).replace(/^_/, "");
    base = prefix;
  } else if (base === 0) {
    if (/^0[0_]*[1-9]/.test(digits)) return null;
    base = 10;
  }
  if (!/^[0-9a-z]+(?:_[0-9a-z]+)*$/.test(digits) || digits.length > 4300) return null;
  let value = 0n;
  for (const digit of digits.replaceAll("_", "")) {
    const at = alphabet.indexOf(digit);
    if (at >= base) return null;
    value = value * BigInt(base) + BigInt(at);
  }
  return intOf(plain.startsWith("-") ? -value : value);
}

/** float(text); null where Python raises a ValueError. */
export function parseFloatText(text: string): number | null {
  const plain = ascii(strip(text)).toLowerCase();
  const sign = plain.startsWith("-") ? -1 : 1;
  const body = plain.replace(/^[+-]/, "");
  if (body === "inf" || body === "infinity") return sign * Number.POSITIVE_INFINITY;
  if (body === "nan") return Number.NaN;
  const digits = "\\d+(?:_\\d+)*";
  const shape = new RegExp(`^(?:${digits}\\.?(?:${digits})?|\\.${digits})(?:e[+-]?${digits})?$`);
  return shape.test(body) ? sign * Number(body.replaceAll("_", "")) : null;
}
