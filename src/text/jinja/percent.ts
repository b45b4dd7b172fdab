/** printf-style formatting: `"%s of %d" % (a, b)`. */

import { at } from "../../base/list.js";
import { spendCharacters } from "./budget.js";
import { hashKey } from "./compare.js";
import { fault, typeFault, valueFault } from "./faults.js";
import { checkWidth, floatDigits } from "./format-spec.js";
import { asInt, isInt, isNumeric, toDouble, truncate } from "./numbers.js";
import { ascii, repr, str } from "./print.js";
import { codePoints, lengthOf } from "./unicode.js";
import { Dict, Float, isList, isText, Range, Tuple, textOf, typeName, Undefined, type Value } from "./values.js";

const directive = /%(?:\(((?:[^()]|\([^()]*\))*)\))?([-+ #0]*)(\*|\d+)?(?:\.(\*|\d+)?)?[hlL]?(.?)/gsu;

interface Directive {
  readonly flags: string;
  readonly width: number;
  readonly precision: number | null;
  readonly type: string;
}

/** @param printed how %s formats a value; a Markup escapes it. */
export function percentFormat(format: string, given: Value, printed: (value: Value) => string = str): string {
  spendCharacters(format.length);
  const values = given instanceof Tuple ? [...given.items] : [given];
  const count = values.length;
  let [used, named] = [0, false];
  const next = (): Value => {
    if (used >= count) typeFault("not enough arguments for format string");
    return at(values, used++);
  };
  const text = format.replace(
    directive,
    (whole, key?: string, flags = "", width?: string, precision?: string, type = "") => {
      if (type === "") return valueFault("incomplete format");
      named ||= key !== undefined;
      let wide = checkWidth(width === "*" ? starred(next()) : width);
      const leftward = wide < 0 || (width === "*" && Object.is(wide, -0));
      wide = Math.abs(wide);
      const places = whole.includes(".", whole.indexOf(")") + 1)
        ? checkWidth(precision === "*" ? Math.max(0, starred(next())) : (precision ?? 0))
        : null;
      const parsed = { flags: leftward ? `${flags}-` : flags, width: wide, precision: places, type };
      if (type === "%") return "%";
      return convert(key === undefined ? next() : lookUp(given, key), parsed, printed);
    },
  );
  const isMapping = isList(given) || [Dict, Range, Undefined].some((type) => given instanceof type);
  if (used < count && !named && !isMapping) typeFault("not all arguments converted during string formatting");
  return text;
}

function starred(value: Value): number {
  return isInt(value) ? Number(value) : typeFault("* wants int");
}

function lookUp(given: Value, key: string): Value {
  if (!(given instanceof Dict)) return typeFault("format requires a mapping");
  const entry = given.entries.get(hashKey(key));
  return entry ? entry[1] : fault("KeyError", repr(key));
}

function convert(
  value: Value,
  { flags, width, precision, type }: Directive,
  printed: (value: Value) => string,
): string {
  switch (type) {
    case "s":
    case "r":
    case "a": {
      const text = type === "s" ? printed(value) : type === "r" ? repr(value) : ascii(value);
      return padded(precision === null ? text : codePoints(text).slice(0, precision).join(""), width, flags);
    }
    case "c":
      return padded(character(value), width, flags);
    case "d":
    case "i":
    case "u":
    case "x":
    case "X":
    case "o":
      return padNumber(integer(value, type, precision, flags), width, flags);
    case "e":
    case "E":
    case "f":
    case "F":
    case "g":
    case "G":
      return padNumber(float(value, type, precision, flags), width, flags);
    default:
      return valueFault(`unsupported format character '${type}'`);
  }
}

function character(value: Value): string {
  if (isText(value) && lengthOf(textOf(value)) === 1) return textOf(value);
  if (!isInt(value)) return typeFault("%c requires int or char");
  const code = Number(value);
  return code >= 0 && code <= 0x10ffff
    ? String.fromCodePoint(code)
    : fault("OverflowError", "%c arg not in range(0x110000)");
}

const bases: Readonly<Record<string, number>> = { x: 16, X: 16, o: 8 };

function integer(value: Value, type: string, precision: number | null, flags: string): readonly [string, string] {
  const base = bases[type] ?? 10;
  if (!isInt(value) && (base !== 10 || !(value instanceof Float))) {
    return typeFault(
      `%${type} format: ${base === 10 ? "a real number" : "an integer"} is required, not ${typeName(value)}`,
    );
  }
  const int = value instanceof Float ? truncate(value.value) : asInt(value);
  const digits = BigInt(int < 0 ? -int : int)
    .toString(base)
    .padStart(precision ?? 0, "0");
  const prefix = flags.includes("#") && base !== 10 ? `0${type}` : "";
  return [signOf(int < 0, flags) + prefix, type === "X" ? digits.toUpperCase() : digits];
}

function float(value: Value, type: string, precision: number | null, flags: string): readonly [string, string] {
  if (!isNumeric(value)) return typeFault(`must be real number, not ${typeName(value)}`);
  const double = toDouble(value);
  const negative = double < 0 || Object.is(double, -0);
  const digits = floatDigits(Math.abs(double), { type, precision, alternate: flags.includes("#") });
  return [signOf(negative, flags), digits];
}

const signOf = (negative: boolean, flags: string): string =>
  negative ? "-" : flags.includes("+") ? "+" : flags.includes(" ") ? " " : "";

function padded(text: string, width: number, flags: string): string {
  const fill = " ".repeat(Math.max(0, width - lengthOf(text)));
  return flags.includes("-") ? text + fill : fill + text;
}

function padNumber([sign, digits]: readonly [string, string], width: number, flags: string): string {
  if (flags.includes("0") && !flags.includes("-")) return sign + digits.padStart(width - sign.length, "0");
  return padded(sign + digits, width, flags);
}
