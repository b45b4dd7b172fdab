/** The binary operators over every pair of values that Python allows. */

import { spend, spendCharacters } from "./budget.js";
import { typeFault } from "./faults.js";
import { escaped } from "./markup.js";
import type { BinaryOperator } from "./nodes.js";
import { calculate, indexOf, isInt, isNumeric } from "./numbers.js";
import { percentFormat } from "./percent.js";
import { repeatText } from "./text-methods.js";
import { isList, isText, Markup, Tuple, textOf, typeName, Undefined, type Value } from "./values.js";

/** @throws TypeError for unsupported operand types, UndefinedError for undefined operands. */
export function operate(operator: BinaryOperator, left: Value, right: Value): Value {
  if (isNumeric(left) && isNumeric(right)) return calculate(operator, left, right);
  if (operator === "%" && isText(left)) return formatted(left, right);
  if (left instanceof Undefined) left.fail();
  if (right instanceof Undefined) right.fail();
  const result = operator === "+" ? add(left, right) : operator === "*" ? multiply(left, right) : undefined;
  if (result !== undefined) return result;
  return typeFault(`unsupported operand type(s) for ${operator}: '${typeName(left)}' and '${typeName(right)}'`);
}

function add(left: Value, right: Value): Value | undefined {
  if (isText(left) && isText(right)) return joined(left, right);
  if (isList(left) && isList(right)) {
    spend(left.length + right.length);
    return [...left, ...right];
  }
  if (!(left instanceof Tuple && right instanceof Tuple)) return undefined;
  spend(left.items.length + right.items.length);
  return new Tuple([...left.items, ...right.items]);
}

/** JavaScript concatenates without copying, so only the shorter text is charged. */
function joined(left: string | Markup, right: string | Markup): string | Markup {
  const [a, b] = [textOf(left), textOf(right)];
  spendCharacters(Math.min(a.length, b.length));
  return left instanceof Markup || right instanceof Markup ? new Markup(escaped(left) + escaped(right)) : a + b;
}

function multiply(left: Value, right: Value): Value | undefined {
  if (isInt(right)) return repeated(left, indexOf(right));
  return isInt(left) ? repeated(right, indexOf(left)) : undefined;
}

function repeated(value: Value, times: number): Value | undefined {
  if (isText(value)) {
    const text = repeatText(textOf(value), times);
    return value instanceof Markup ? new Markup(text) : text;
  }
  if (isList(value)) return repeatItems(value, times);
  return value instanceof Tuple ? new Tuple(repeatItems(value.items, times)) : undefined;
}

function repeatItems(items: readonly Value[], times: number): Value[] {
  spend(Math.max(0, Math.min(items.length * times, Number.MAX_SAFE_INTEGER)));
  const all: Value[] = [];
  for (let i = 0; i < times && items.length > 0; i++) for (const item of items) all.push(item);
  return all;
}

function formatted(left: string | Markup, right: Value): string | Markup {
  if (!(left instanceof Markup)) return percentFormat(left, right);
  return new Markup(percentFormat(left.text, right, escaped));
}
