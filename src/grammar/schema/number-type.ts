/** The numbers of a schema: their bounds and what they are multiples of. */

import type { Json } from "../../base/json.js";
import { both, type Expression } from "../expression.js";
import { type Bound, integerWithin, multiplesOf, numberWithin } from "./numbers.js";
import { fault } from "./pointer.js";

const maxDivisor = 1000;

/** The numbers that a schema allows. Throws GrammarFault. */
export function numberType(type: "integer" | "number", schema: Json, path: string): Expression {
  const low = bound(schema, "minimum", "exclusiveMinimum", Math.max, path);
  const high = bound(schema, "maximum", "exclusiveMaximum", Math.min, path);
  const divisor = schema.multipleOf;
  if (divisor === undefined) return (type === "integer" ? integerWithin : numberWithin)({ low, high });
  if (typeof divisor !== "number" || !Number.isInteger(divisor) || divisor < 1 || divisor > maxDivisor) {
    throw fault(path, `\`multipleOf\` is supported only as an integer from 1 to ${maxDivisor}`);
  }
  return both(integerWithin({ low, high }), multiplesOf(divisor));
}

/** The tighter of an inclusive and an exclusive bound; null without either. */
function bound(
  schema: Json,
  inclusive: string,
  exclusive: string,
  tighter: (a: number, b: number) => number,
  path: string,
): Bound | null {
  const [closed, open] = [real(schema, inclusive, path), real(schema, exclusive, path)];
  if (open !== null && Math.abs(open) > Number.MAX_SAFE_INTEGER) {
    throw fault(path, `\`${exclusive}\` must lie within ${Number.MAX_SAFE_INTEGER}`);
  }
  if (open === null) return closed === null ? null : { value: closed, exclusive: false };
  if (closed === null || tighter(closed, open) === open) return { value: open, exclusive: true };
  return { value: closed, exclusive: false };
}

function real(schema: Json, keyword: string, path: string): number | null {
  const value = schema[keyword];
  if (value === undefined) return null;
  if (typeof value !== "number" || !Number.isFinite(value)) throw fault(path, `\`${keyword}\` must be a number`);
  return value;
}
