/** All filters by name. */

import { intArgument, textArgument, wholeArgument } from "./arguments.js";
import { getOnlyAttribute } from "./attributes.js";
import { attempt, toFloat, toInt } from "./convert.js";
import { roundFloat } from "./decimal.js";
import { fault, typeFault, valueFault } from "./faults.js";
import { type FilterTable, taking } from "./filter-table.js";
import { listFilters } from "./filters-list.js";
import { textFilters } from "./filters-text.js";
import { absolute, asInt, calculateInts, intOf, isInt, isNumeric, truncate } from "./numbers.js";
import { operate } from "./operators.js";
import { truth } from "./sequences.js";
import { Float, isText, textOf, typeName, Undefined, type Value } from "./values.js";

const fallback = taking("default_value? boolean?", (value, [otherwise = "", boolean = false]) =>
  value instanceof Undefined || (truth(boolean) && !truth(value)) ? otherwise : value,
);

/** round(value, precision), half to even. */
function roundHalfEven(value: Value, precision: Value): Value {
  if (value instanceof Float) {
    if (precision === null) return truncate(roundFloat(value.value, 0));
    return new Float(roundFloat(value.value, intArgument(precision, 0)));
  }
  if (!isInt(value)) return typeFault(`type ${typeName(value)} doesn't define __round__ method`);
  const places = precision === null ? 0 : intArgument(precision, 0);
  if (places >= 0) return asInt(value);
  if (places < -4300) return 0;
  const unit = intOf(10n ** BigInt(-places));
  const int = asInt(value);
  const rest = calculateInts("%", int, unit);
  const low = calculateInts("-", int, rest);
  const twice = calculateInts("*", rest, 2);
  const isOdd = calculateInts("%", calculateInts("//", low, unit), 2) === 1;
  return twice > unit || (twice === unit && isOdd) ? calculateInts("+", low, unit) : low;
}

function rounded(value: Value, precision: Value, method: string): Value {
  if (method === "common") return roundHalfEven(value, precision);
  if (method !== "ceil" && method !== "floor") return valueFault("method must be common, ceil or floor");
  const scale = operate("**", 10, precision);
  const scaled = operate("*", value, scale);
  if (!isNumeric(scaled)) return typeFault(`must be real number, not ${typeName(scaled)}`);
  const whole = isInt(scaled)
    ? scaled
    : truncate(method === "ceil" ? Math.ceil(scaled.value) : Math.floor(scaled.value));
  return operate("/", whole, scale);
}

function int(value: Value, otherwise: Value, base: number): Value {
  const direct = attempt(() => toInt(value, base), ["TypeError", "ValueError"]);
  return direct ?? attempt(() => truncate(toFloat(value)), ["TypeError", "ValueError", "OverflowError"]) ?? otherwise;
}

function float(value: Value, otherwise: Value): Value {
  const found = attempt(() => toFloat(value), ["TypeError", "ValueError"]);
  return found === null ? otherwise : new Float(found);
}

const otherFilters: FilterTable = {
  abs: taking("", absolute),
  attr: taking("name", (value, [name]) => getOnlyAttribute(value, textArgument(name))),
  d: fallback,
  default: fallback,
  float: taking("default?", (value, [otherwise = new Float(0)]) => float(value, otherwise)),
  int: taking("default? base?", (value, [otherwise = 0, base = 10]) =>
    int(value, otherwise, Number(wholeArgument(base))),
  ),
  round: taking("precision? method?", (value, [precision = 0, method = "common"]) =>
    rounded(value, precision, isText(method) ? textOf(method) : ""),
  ),
};

/** Filters of Jinja2 that are not supported: they need HTML, randomness or a debug printer, and no chat template uses them. */
export const unsupportedFilters: ReadonlySet<string> = new Set(["pprint", "random", "striptags", "urlize"]);

const filters: FilterTable = { ...otherFilters, ...textFilters, ...listFilters };

export const isFilter = (name: string): boolean => Object.hasOwn(filters, name) || unsupportedFilters.has(name);

/** @throws TemplateRuntimeError for an unknown name. */
export function filterNamed(name: string): FilterTable[string] {
  const filter = Object.hasOwn(filters, name) ? filters[name] : undefined;
  if (filter) return filter;
  if (unsupportedFilters.has(name)) return fault("NotSupported", `the filter "${name}" is not supported`);
  return fault("TemplateRuntimeError", `No filter named '${name}' found.`);
}
