/** The attributes of Python's builtin types: bound methods and a few plain ones. */

import { containerMethod } from "./container-methods.js";
import { asInt, isInt } from "./numbers.js";
import { textMethod } from "./text-methods.js";
import { Callable, Float, isText, Range, Tuple, typeName, type Value, View } from "./values.js";

/** undefined where the type has no such attribute. */
export function memberOf(value: Value, name: string): Value | undefined {
  if (isText(value)) return bound(value, name, textMethod(value, name));
  if (value instanceof Tuple && value.names?.has(name)) return value.names.get(name);
  if (value instanceof Range && (name === "start" || name === "stop" || name === "step")) return value[name];
  if (isInt(value) || value instanceof Float) return numberMember(value, name);
  if (value instanceof View && name === "mapping") return value.dict;
  return bound(value, name, containerMethod(value, name));
}

function bound(value: Value, name: string, method: Callable["call"] | undefined): Callable | undefined {
  return method && new Callable(`<built-in method ${name} of ${typeName(value)} object at 0x7f0000000000>`, method);
}

function numberMember(value: number | bigint | boolean | Float, name: string): Value | undefined {
  const plain = value instanceof Float ? value : asInt(value);
  const zero = value instanceof Float ? new Float(0) : 0;
  switch (name) {
    case "real":
      return plain;
    case "imag":
      return zero;
    case "numerator":
    case "denominator":
      if (plain instanceof Float) return undefined;
      return name === "numerator" ? plain : 1;
    case "conjugate":
      return bound(value, name, () => plain);
    case "is_integer":
      return plain instanceof Float ? bound(value, name, () => Number.isInteger(plain.value)) : undefined;
    case "bit_length":
      if (plain instanceof Float) return undefined;
      return bound(value, name, () => (plain === 0 ? 0 : BigInt(plain < 0 ? -plain : plain).toString(2).length));
    default:
      return undefined;
  }
}
