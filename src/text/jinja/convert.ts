/** int() and float() of any value. */

import { TemplateFault, typeFault, valueFault } from "./faults.js";
import { parseFloatText, parseInteger } from "./literals.js";
import { asInt, type Int, isInt, isNumeric, toDouble, truncate } from "./numbers.js";
import { repr } from "./print.js";
import { Float, isText, textOf, typeName, Undefined, type Value } from "./values.js";

/** float(value). @throws TypeError, ValueError */
export function toFloat(value: Value): number {
  if (isNumeric(value)) return toDouble(value);
  if (value instanceof Undefined) return value.fail();
  if (!isText(value)) return typeFault(`float() argument must be a string or a real number, not '${typeName(value)}'`);
  return parseFloatText(textOf(value)) ?? valueFault(`could not convert string to float: ${repr(value)}`);
}

/** int(value, base); the base applies to texts only. @throws TypeError, ValueError, OverflowError */
export function toInt(value: Value, base: number): Int {
  if (value instanceof Float) return truncate(value.value);
  if (isInt(value)) return asInt(value);
  if (value instanceof Undefined) return value.fail();
  if (!isText(value)) return typeFault(`int() argument must be a string or a real number, not '${typeName(value)}'`);
  if (base !== 0 && (base < 2 || base > 36)) valueFault("int() base must be >= 2 and <= 36, or 0");
  return parseInteger(textOf(value), base) ?? valueFault(`invalid literal for int() with base ${base}: ${repr(value)}`);
}

/** A task's result; null if it throws one of these faults. */
export function attempt<T>(task: () => T, kinds: readonly TemplateFault["kind"][]): T | null {
  try {
    return task();
  } catch (error) {
    if (error instanceof TemplateFault && kinds.includes(error.kind)) return null;
    throw error;
  }
}
