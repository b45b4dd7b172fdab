/** All tests by name: what can follow `is`. */

import { type Comparison, compare, contains, equals } from "./compare.js";
import { fault, typeFault } from "./faults.js";
import { type TestFunction, type TestTable, taking } from "./filter-table.js";
import { isFilter } from "./filters.js";
import { isNumeric } from "./numbers.js";
import { operate } from "./operators.js";
import { str } from "./print.js";
import { isIterable, sizeOf } from "./sequences.js";
import { isOfClass } from "./unicode.js";
import { Callable, Dict, Float, Iter, isHost, isText, Markup, textOf, Undefined, type Value, View } from "./values.js";

const is = (holds: (value: Value) => boolean): TestFunction => taking("", holds);

/** A comparison with one other value. */
const versus = (holds: (value: Value, other: Value) => boolean): TestFunction =>
  taking("/other", (value, [other = null]) => holds(value, other));

const ordered = (operator: Comparison): TestFunction => versus((value, other) => compare(operator, value, other));

const [equal, unequal] = [versus(equals), versus((value, other) => !equals(value, other))];
const [less, more] = [ordered("<"), ordered(">")];

function remainderIs(value: Value, divisor: Value, rest: number): boolean {
  return equals(operate("%", value, divisor), rest);
}

const isSequence = (value: Value): boolean =>
  sizeOf(value) !== null && !(value instanceof View) && !(value instanceof Iter) && !(value !== null && isHost(value));

const tests: TestTable = {
  "!=": unequal,
  "<": less,
  "<=": ordered("<="),
  "==": equal,
  ">": more,
  ">=": ordered(">="),
  boolean: is((value) => typeof value === "boolean"),
  callable: is(
    (value) => value instanceof Callable || value instanceof Undefined || (isHost(value) && value.call !== undefined),
  ),
  defined: is((value) => !(value instanceof Undefined)),
  divisibleby: taking("num", (value, [divisor = null]) => remainderIs(value, divisor, 0)),
  eq: equal,
  equalto: equal,
  escaped: is((value) => value instanceof Markup),
  even: is((value) => remainderIs(value, 2, 0)),
  false: is((value) => value === false),
  filter: is((value) => hasName(value, isFilter)),
  float: is((value) => value instanceof Float),
  ge: ordered(">="),
  greaterthan: more,
  gt: more,
  in: taking("seq", (value, [container = null]) => contains(container, value)),
  integer: is((value) => typeof value === "number" || typeof value === "bigint"),
  iterable: is(isIterable),
  le: ordered("<="),
  lessthan: less,
  lower: is((value) => isOfClass(str(value), "islower")),
  lt: less,
  mapping: is((value) => value instanceof Dict),
  ne: unequal,
  none: is((value) => value === null),
  number: is(isNumeric),
  odd: is((value) => remainderIs(value, 2, 1)),
  sameas: taking("other", (value, [other = null]) => isSame(value, other)),
  sequence: is(isSequence),
  string: is(isText),
  test: is((value) => hasName(value, isTest)),
  true: is((value) => value === true),
  undefined: is((value) => value instanceof Undefined),
  upper: is((value) => isOfClass(str(value), "isupper")),
};

/** Python's `is`: equal texts and small ints usually are the same object. */
const isSame = (value: Value, other: Value): boolean => value === other;

function hasName(value: Value, has: (name: string) => boolean): boolean {
  if (isText(value)) return has(textOf(value));
  if (Array.isArray(value) || value instanceof Dict) return typeFault("unhashable type");
  return false;
}

export function isTest(name: string): boolean {
  return Object.hasOwn(tests, name);
}

/** @throws TemplateRuntimeError for an unknown name. */
export function testNamed(name: string): TestFunction {
  const test = Object.hasOwn(tests, name) ? tests[name] : undefined;
  return test ?? fault("TemplateRuntimeError", `No test named '${name}' found.`);
}
