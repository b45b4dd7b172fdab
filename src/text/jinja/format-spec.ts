/** Formats one value by a format specification, as in `"{:>8.2f}"` and `"%8.2f"`. */

import { spendCharacters } from "./budget.js";
import { fixed, positional, reprFloat, scientific, significant } from "./decimal.js";
import { fault, typeFault, valueFault } from "./faults.js";
import { asInt, isInt, isNumeric, toDouble } from "./numbers.js";
import { str } from "./print.js";
import { codePoints, lengthOf } from "./unicode.js";
import { isText, textOf, typeName, type Value } from "./values.js";

/** The largest width and precision; more than any template needs. */
const maxWidth = 10_000;

interface Spec {
  readonly fill: string;
  readonly align: string;
  readonly sign: string;
  readonly alternate: boolean;
  readonly width: number;
  readonly grouping: string;
  readonly precision: number | null;
  readonly type: string;
}

const shape = /^(?:(.)?([<>=^]))?([-+ ])?(z)?(#)?(0)?(\d+)?([,_])?(?:\.(\d+))?(.)?$/su;

function parseSpec(source: string): Spec {
  const found = shape.exec(source);
  if (!found) return valueFault(`Invalid format specifier '${source}'`);
  const [, fill, align, sign, , alternate, zero, width, grouping, precision, type] = found;
  return {
    fill: fill ?? (zero ? "0" : " "),
    align: align ?? (zero ? "=" : ""),
    sign: sign ?? "-",
    alternate: alternate !== undefined,
    width: checkWidth(width),
    grouping: grouping ?? "",
    precision: precision === undefined ? null : checkWidth(precision),
    type: type ?? "",
  };
}

export function checkWidth(text: string | number | undefined): number {
  const width = Number(text ?? 0);
  return width <= maxWidth ? width : fault("LimitError", `it pads a text to more than ${maxWidth} characters`);
}

/** format(value, spec). */
export function format(value: Value, source: string): string {
  if (source === "") return str(value);
  if (isText(value)) return formatText(textOf(value), parseSpec(source));
  if (!isNumeric(value)) return typeFault(`unsupported format string passed to ${typeName(value)}.__format__`);
  const spec = parseSpec(source);
  if (isInt(value) && "bcdoxXn".includes(spec.type || "d")) return formatInt(asInt(value), spec);
  if (isInt(value) && !"eEfFgG%".includes(spec.type)) return unknownType(spec, typeName(value));
  return formatFloat(toDouble(value), spec);
}

const unknownType = ({ type }: Spec, name: string): never =>
  valueFault(`Unknown format code '${type}' for object of type '${name}'`);

function formatText(text: string, spec: Spec): string {
  if (spec.type !== "" && spec.type !== "s") return unknownType(spec, "str");
  if (spec.sign !== "-" || spec.alternate || spec.grouping !== "")
    valueFault("not allowed in a string's format specifier");
  if (spec.align === "=" && spec.fill !== "0") valueFault("'=' alignment not allowed in string format specifier");
  const cut = spec.precision === null ? text : codePoints(text).slice(0, spec.precision).join("");
  return pad(cut, spec, spec.align === "=" ? "<" : spec.align || "<");
}

function pad(text: string, { fill, width }: Spec, align: string): string {
  const missing = Math.max(0, width - lengthOf(text));
  spendCharacters(missing);
  const left = align === "<" ? 0 : align === "^" ? Math.floor(missing / 2) : missing;
  return fill.repeat(left) + text + fill.repeat(missing - left);
}

const bases: Readonly<Record<string, number>> = { b: 2, o: 8, x: 16, X: 16 };

function formatInt(value: number | bigint, spec: Spec): string {
  if (spec.precision !== null) valueFault("Precision not allowed in integer format specifier");
  if (spec.type === "c") {
    if (value < 0 || value > 0x10ffff) fault("OverflowError", "%c arg not in range(0x110000)");
    return pad(String.fromCodePoint(Number(value)), spec, spec.align || "<");
  }
  if (spec.type === "n" && spec.grouping !== "") valueFault(`Cannot specify '${spec.grouping}' with 'n'.`);
  const base = bases[spec.type] ?? 10;
  if (spec.grouping === "," && base !== 10) valueFault(`Cannot specify ',' with '${spec.type}'.`);
  const digits = BigInt(value < 0 ? -value : value).toString(base);
  const prefix = spec.alternate && base !== 10 ? `0${spec.type}` : "";
  return number(value < 0, prefix, spec.type === "X" ? digits.toUpperCase() : digits, "", spec, base === 10 ? 3 : 4);
}

function formatFloat(value: number, spec: Spec): string {
  if (!"eEfFgG%n".includes(spec.type)) return unknownType(spec, "float");
  const negative = value < 0 || Object.is(value, -0);
  const text =
    spec.type === "" && spec.precision === null ? reprFloat(Math.abs(value)) : floatDigits(Math.abs(value), spec);
  const rest = text.replace(/^\d+/, "");
  const digits = text.slice(0, text.length - rest.length);
  return number(negative, "", digits, rest, spec, 3);
}

/** A non-negative float in one of the presentation types. */
export function floatDigits(
  value: number,
  { type, precision, alternate }: Pick<Spec, "type" | "precision" | "alternate">,
): string {
  const upper = type === "E" || type === "F" || type === "G";
  if (!Number.isFinite(value))
    return Number.isNaN(value) ? (upper ? "NAN" : "nan") : (upper ? "INF" : "inf") + (type === "%" ? "%" : "");
  const places = precision ?? 6;
  switch (type.toLowerCase()) {
    case "f":
      return withPoint(fixed(value, places), alternate);
    case "%":
      return `${withPoint(fixed(value * 100, places), alternate)}%`;
    case "e":
      return withPoint(scientific(significant(value, places + 1), type), alternate);
    default:
      return general(value, Math.max(places, 1), type === "G" ? "E" : "e", type === "", alternate);
  }
}

const withPoint = (text: string, alternate: boolean): string =>
  alternate && !text.includes(".") ? text.replace(/^\d+/, "$&.") : text;

/** The shorter of fixed and scientific notation; without a type an integral value keeps ".0". */
function general(value: number, count: number, letter: string, plain: boolean, alternate: boolean): string {
  const decimal = significant(value, count);
  const digits = alternate ? decimal.digits : decimal.digits.replace(/(?!^)0+$/, "");
  const trimmed = { digits, point: decimal.point };
  const limit = plain ? count - 1 : count;
  if (decimal.point - 1 < -4 || decimal.point - 1 >= limit) return withPoint(scientific(trimmed, letter), alternate);
  const text = positional(trimmed);
  return plain && !text.includes(".") ? `${text}.0` : withPoint(text, alternate);
}

function number(
  negative: boolean,
  prefix: string,
  digits: string,
  rest: string,
  spec: Spec,
  groupSize: number,
): string {
  const sign = negative ? "-" : spec.sign === "-" ? "" : spec.sign;
  const head = sign + prefix;
  const inside = spec.align === "=";
  const room = spec.width - head.length - rest.length;
  const filled =
    inside && spec.fill === "0"
      ? grouped(digits, spec.grouping, groupSize, room)
      : grouped(digits, spec.grouping, groupSize, 0);
  if (!inside) return pad(head + filled + rest, spec, spec.align || ">");
  const missing = Math.max(0, room - filled.length);
  return head + spec.fill.repeat(missing) + filled + rest;
}

/** Grouped digits, zero-padded to a width; a separator never comes first. */
function grouped(digits: string, separator: string, size: number, width: number): string {
  if (separator === "") return digits.padStart(width, "0");
  const join = (text: string): string => text.replace(new RegExp(`\\B(?=(?:[0-9a-fA-F]{${size}})+$)`, "g"), separator);
  let count = digits.length;
  while (count + Math.floor((count - 1) / size) < width) count++;
  return join(digits.padStart(count, "0"));
}
