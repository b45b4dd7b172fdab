/** Python's equality, order, hashing and membership, across types. */

import { at } from "../../base/list.js";
import { nested, spend, spendCharacters } from "./budget.js";
import { typeFault } from "./faults.js";
import { isNumeric, type Numeric } from "./numbers.js";
import { iterate } from "./sequences.js";
import { compareTexts } from "./unicode.js";
import {
  Dict,
  Float,
  type HashKey,
  isHost,
  isList,
  isText,
  Range,
  Tuple,
  textOf,
  typeName,
  Undefined,
  type Value,
  View,
} from "./values.js";

/** JavaScript compares a bigint and a double exactly, as Python does. */
const comparable = (value: Numeric): number | bigint =>
  typeof value === "boolean" ? Number(value) : value instanceof Float ? value.value : value;

export function equals(a: Value, b: Value): boolean {
  spend();
  if (isNumeric(a) && isNumeric(b)) {
    // biome-ignore lint/suspicious/noDoubleEquals: a bigint equals a number by value, which === denies.
    return comparable(a) == comparable(b);
  }
  if (a === b) return true;
  if (isText(a) && isText(b)) {
    const [left, right] = [textOf(a), textOf(b)];
    if (left.length !== right.length) return false;
    spendCharacters(left.length);
    return left === right;
  }
  if (isList(a) && isList(b)) return nested(() => allEqual(a, b));
  if (a instanceof Tuple && b instanceof Tuple) return nested(() => allEqual(a.items, b.items));
  if (a instanceof Dict && b instanceof Dict) return nested(() => sameEntries(a, b));
  if (a instanceof Range && b instanceof Range) return sameRanges(a, b);
  if (a instanceof View && b instanceof View) return nested(() => sameViews(a, b));
  return a instanceof Undefined && b instanceof Undefined;
}

/** Equality in containers: an object equals itself, even NaN. */
const same = (a: Value, b: Value): boolean => a === b || equals(a, b);

const allEqual = (a: readonly Value[], b: readonly Value[]): boolean =>
  a.length === b.length && a.every((item, i) => same(item, at(b, i)));

function sameEntries(a: Dict, b: Dict): boolean {
  if (a.entries.size !== b.entries.size) return false;
  for (const [key, [, value]] of a.entries) {
    const other = b.entries.get(key);
    if (!other || !same(value, other[1])) return false;
  }
  return true;
}

function sameRanges(a: Range, b: Range): boolean {
  if (a.length !== b.length) return false;
  return a.length === 0 || (a.start === b.start && (a.length === 1 || a.step === b.step));
}

function sameViews(a: View, b: View): boolean {
  if (a.kind === "values" || b.kind === "values" || a.dict.entries.size !== b.dict.entries.size) return false;
  return [...iterate(a)].every((item) => contains(b, item));
}

export type Comparison = "<" | "<=" | ">" | ">=";

const holds: Readonly<Record<Comparison, (sign: number) => boolean>> = {
  "<": (sign) => sign < 0,
  "<=": (sign) => sign <= 0,
  ">": (sign) => sign > 0,
  ">=": (sign) => sign >= 0,
};

export function compare(operator: Comparison, a: Value, b: Value): boolean {
  spend();
  if (a instanceof Undefined) a.fail();
  if (b instanceof Undefined) b.fail();
  if (isNumeric(a) && isNumeric(b)) return compareNumbers(operator, comparable(a), comparable(b));
  if (isText(a) && isText(b)) return holds[operator](compareTexts(textOf(a), textOf(b)));
  if (isList(a) && isList(b)) return nested(() => compareItems(operator, a, b));
  if (a instanceof Tuple && b instanceof Tuple) return nested(() => compareItems(operator, a.items, b.items));
  return typeFault(`'${operator}' not supported between instances of '${typeName(a)}' and '${typeName(b)}'`);
}

function compareNumbers(operator: Comparison, a: number | bigint, b: number | bigint): boolean {
  if (operator === "<") return a < b;
  if (operator === "<=") return a <= b;
  return operator === ">" ? a > b : a >= b;
}

function compareItems(operator: Comparison, a: readonly Value[], b: readonly Value[]): boolean {
  const shorter = Math.min(a.length, b.length);
  for (let i = 0; i < shorter; i++) {
    const [left = null, right = null] = [a[i], b[i]];
    if (!same(left, right)) return compare(operator, left, right);
  }
  return holds[operator](a.length - b.length);
}

/** The hash key of a dict's key. @throws TypeError for a list, a dict, or a value that contains one. */
export function hashKey(value: Value): HashKey {
  if (typeof value === "string") return value.startsWith("\0") ? `\0s${value}` : value;
  if (value === null) return null;
  if (isNumeric(value)) return hashNumber(comparable(value));
  if (isText(value)) return hashKey(textOf(value));
  if (value instanceof Undefined) return "\0undefined";
  if (value instanceof Tuple) return nested(() => hashTuple(value.items));
  if (isList(value) || value instanceof Dict || (value instanceof View && value.kind !== "values")) {
    return typeFault(`unhashable type: '${typeName(value)}'`);
  }
  if (value instanceof Range) return `\0range ${value.length} ${value.start} ${value.step}`;
  return value;
}

/** An integral float hashes as the equal int. */
function hashNumber(value: number | bigint): number | bigint {
  if (typeof value === "bigint" || Number.isSafeInteger(value) || !Number.isInteger(value)) return value;
  return BigInt(value);
}

const identities = new WeakMap<object, number>();
let identitiesGiven = 0;

function hashTuple(items: readonly Value[]): string {
  const parts = items.map((item) => {
    spend();
    const key = hashKey(item);
    if (typeof key === "string") return `${key.length}s${key}`;
    if (typeof key !== "object" || key === null) return `${typeof key === "bigint" ? "n" : ""}${key}`;
    let identity = identities.get(key);
    if (identity === undefined) {
      identity = ++identitiesGiven;
      identities.set(key, identity);
    }
    return `o${identity}`;
  });
  return `\0tuple ${parts.join(",")}`;
}

/** Python's `in`. */
export function contains(container: Value, item: Value): boolean {
  if (isText(container)) {
    if (!isText(item)) {
      if (item instanceof Undefined) return typeFault("'in <string>' requires string as left operand, not Undefined");
      return typeFault(`'in <string>' requires string as left operand, not ${typeName(item)}`);
    }
    spendCharacters(textOf(container).length);
    return textOf(container).includes(textOf(item));
  }
  if (container instanceof Dict) return container.entries.has(hashKey(item));
  if (container instanceof View && container.kind === "keys") return container.dict.entries.has(hashKey(item));
  if (container === null || typeof container !== "object" || isHost(container)) {
    return typeFault(`argument of type '${typeName(container)}' is not iterable`);
  }
  for (const member of iterate(container)) if (same(member, item)) return true;
  return false;
}
