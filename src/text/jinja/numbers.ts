/** Arithmetic of Python's int, float and bool. An int is a number while doubles hold it exactly, else a bigint. */

import { fault, typeFault, valueFault } from "./faults.js";
import { Float, typeName, type Value } from "./values.js";

export type Int = number | bigint;
export type Numeric = Int | boolean | Float;

/** The bits of 4,300 digits, the longest int that Python prints. */
const maxBits = 14_280;
const largest = 1n << BigInt(maxBits);

export const isNumeric = (value: Value): value is Numeric =>
  typeof value === "number" || typeof value === "boolean" || value instanceof Float || typeof value === "bigint";

export const isInt = (value: Value): value is Int | boolean =>
  typeof value === "number" || typeof value === "boolean" || typeof value === "bigint";

/** The canonical form of an int. @throws TemplateFault `LimitError` past 4,300 digits. */
export function intOf(value: bigint): Int {
  if (value >= largest || value <= -largest) fault("LimitError", "it computes an integer of more than 4300 digits");
  const small = Number(value);
  return Number.isSafeInteger(small) ? small : value;
}

const plain = (value: Int | boolean): Int => (typeof value === "boolean" ? Number(value) : value);

/** @throws TemplateFault `OverflowError` for an int past the range of floats. */
export function toDouble(value: Numeric): number {
  if (value instanceof Float) return value.value;
  const double = Number(value);
  if (Number.isFinite(double)) return double;
  return fault("OverflowError", "int too large to convert to float");
}

/** int(float): toward zero. */
export function truncate(value: number): Int {
  if (Number.isNaN(value)) return valueFault("cannot convert float NaN to integer");
  if (!Number.isFinite(value)) return fault("OverflowError", "cannot convert float infinity to integer");
  const whole = Math.trunc(value);
  return Number.isSafeInteger(whole) ? whole + 0 : intOf(BigInt(whole));
}

type IntOperator = "+" | "-" | "*" | "//" | "%";
type Operator = IntOperator | "/" | "**";

export function calculate(operator: Operator, left: Numeric, right: Numeric): Numeric {
  if (left instanceof Float || right instanceof Float || operator === "/") {
    return new Float(withFloats(operator, toDouble(left), toDouble(right)));
  }
  return operator === "**" ? power(plain(left), plain(right)) : calculateInts(operator, plain(left), plain(right));
}

export function calculateInts(operator: IntOperator, left: Int, right: Int): Int {
  const quick = typeof left === "number" && typeof right === "number" ? quickly(operator, left, right) : Number.NaN;
  return Number.isSafeInteger(quick) ? quick + 0 : intOf(withInts(operator, BigInt(left), BigInt(right)));
}

/** What loops compute most, in doubles: exact where the result is a safe integer. NaN for other operators. */
const quickly = (operator: IntOperator, left: number, right: number): number =>
  operator === "+" ? left + right : operator === "-" ? left - right : operator === "*" ? left * right : Number.NaN;

function withInts(operator: IntOperator, left: bigint, right: bigint): bigint {
  switch (operator) {
    case "+":
      return left + right;
    case "-":
      return left - right;
    case "*":
      return left * right;
    case "%":
      return modulo(left, right);
    case "//":
      return (left - modulo(left, right)) / right;
  }
}

/** The remainder has the divisor's sign. */
function modulo(left: bigint, right: bigint): bigint {
  if (right === 0n) fault("ZeroDivisionError", "integer division or modulo by zero");
  const rest = left % right;
  return rest !== 0n && rest < 0n !== right < 0n ? rest + right : rest;
}

function power(base: Int, exponent: Int): Int | Float {
  if (exponent < 0) return new Float(floatPower(toDouble(base), toDouble(exponent)));
  const size = BigInt(base).toString(2).length - 1;
  const [big, times] = [BigInt(base), BigInt(exponent)];
  if (big >= -1n && big <= 1n) return intOf(big ** (times % 2n === 0n && times > 0n ? 2n : times === 0n ? 0n : 1n));
  if (BigInt(size) * times > BigInt(maxBits)) fault("LimitError", "it computes an integer of more than 4300 digits");
  return intOf(big ** times);
}

function withFloats(operator: Operator, left: number, right: number): number {
  switch (operator) {
    case "+":
      return left + right;
    case "-":
      return left - right;
    case "*":
      return left * right;
    case "/":
      if (right === 0) fault("ZeroDivisionError", "division by zero");
      return left / right;
    case "//":
      return floorDivide(left, right);
    case "%":
      return floatModulo(left, right);
    case "**":
      return floatPower(left, right);
  }
}

const withSign = (value: number, sign: number): number =>
  sign < 0 || Object.is(sign, -0) ? -Math.abs(value) : Math.abs(value);

function floatModulo(left: number, right: number): number {
  if (right === 0) fault("ZeroDivisionError", "float modulo");
  const rest = left % right;
  if (rest === 0) return withSign(0, right);
  return rest < 0 !== right < 0 ? rest + right : rest;
}

function floorDivide(left: number, right: number): number {
  if (right === 0) fault("ZeroDivisionError", "float floor division by zero");
  const quotient = (left - floatModulo(left, right)) / right;
  if (quotient === 0) return withSign(0, left / right);
  const floor = Math.floor(quotient);
  return quotient - floor > 0.5 ? floor + 1 : floor;
}

function floatPower(base: number, exponent: number): number {
  if (base === 0 && exponent < 0) fault("ZeroDivisionError", "0.0 cannot be raised to a negative power");
  if (base === 1 || exponent === 0) return 1;
  if (base < 0 && Number.isFinite(base) && Number.isFinite(exponent) && !Number.isInteger(exponent)) {
    fault("NotSupported", "a complex number");
  }
  if (base === -1 && !Number.isFinite(exponent) && !Number.isNaN(exponent)) return 1;
  const result = base ** exponent;
  if (!Number.isFinite(result) && Number.isFinite(base) && Number.isFinite(exponent)) {
    fault("OverflowError", "Numerical result out of range");
  }
  return result;
}

export function negate(value: Value): Numeric {
  if (value instanceof Float) return new Float(-value.value);
  if (!isInt(value)) return typeFault(`bad operand type for unary -: '${typeName(value)}'`);
  const int = plain(value);
  return typeof int === "bigint" ? intOf(-int) : 0 - int;
}

export function affirm(value: Value): Numeric {
  if (!isNumeric(value)) return typeFault(`bad operand type for unary +: '${typeName(value)}'`);
  return value instanceof Float ? value : plain(value);
}

export function absolute(value: Value): Numeric {
  if (value instanceof Float) return new Float(Math.abs(value.value));
  if (!isInt(value)) return typeFault(`bad operand type for abs(): '${typeName(value)}'`);
  const int = plain(value);
  return int < 0 ? negate(int) : int;
}

/** An int as a count or an index, clamped to the safe range. @throws TemplateFault `TypeError` for anything else. */
export function indexOf(value: Value): number {
  if (!isInt(value)) return typeFault(`'${typeName(value)}' object cannot be interpreted as an integer`);
  return Math.max(-Number.MAX_SAFE_INTEGER, Math.min(Number.MAX_SAFE_INTEGER, Number(value)));
}

/** The int or bool as an int. */
export const asInt = (value: Int | boolean): Int => plain(value);
