/** Evaluates expressions. */

import { getAttribute, getItem } from "./attributes.js";
import { spend, spendCharacters } from "./budget.js";
import { compare, contains, equals } from "./compare.js";
import { dictOf, keywordsOf } from "./container-methods.js";
import { fault, typeFault } from "./faults.js";
import type { Registry } from "./filter-table.js";
import { filterNamed } from "./filters.js";
import type { CallArguments, CompareOperator, Expression, Filter, Test } from "./nodes.js";
import { affirm, negate } from "./numbers.js";
import { operate } from "./operators.js";
import { str } from "./print.js";
import type { Scope } from "./scope.js";
import { listOf, slice, truth } from "./sequences.js";
import { testNamed } from "./tests.js";
import { type Arguments, Callable, isHost, Tuple, typeName, Undefined, type Value } from "./values.js";

/** Filters and tests by name, for filters that call others. */
export const registry: Registry = {
  filter: (name, value, args) => (filterNamed(name) ?? noFilter(name))(value, args, registry),
  test: (name, value, args) => testNamed(name)(value, args, registry),
};

const noFilter = (name: string): never => fault("TemplateRuntimeError", `No filter named '${name}' found.`);

export function evaluate(expression: Expression, scope: Scope): Value {
  spend();
  switch (expression.kind) {
    case "constant":
      return expression.value;
    case "name":
      return scope.get(expression.name);
    case "attribute":
      return getAttribute(evaluate(expression.of, scope), expression.name);
    case "item":
      return getItem(evaluate(expression.of, scope), evaluate(expression.key, scope));
    case "compare":
      return evaluateComparison(expression, scope);
    case "filter":
      return applyFilter(expression, scope, null);
    case "test":
      return evaluateTest(expression, scope);
    case "and": {
      const left = evaluate(expression.left, scope);
      return truth(left) ? evaluate(expression.right, scope) : left;
    }
    case "or": {
      const left = evaluate(expression.left, scope);
      return truth(left) ? left : evaluate(expression.right, scope);
    }
    case "binary":
      return operate(expression.operator, evaluate(expression.left, scope), evaluate(expression.right, scope));
    case "unary":
      return evaluateUnary(expression, scope);
    case "condition":
      if (truth(evaluate(expression.test, scope))) return evaluate(expression.yes, scope);
      if (expression.no) return evaluate(expression.no, scope);
      return new Undefined("the inline if-expression evaluated to false and no else section was defined");
    case "call":
      return call(evaluate(expression.callee, scope), evaluateArguments(expression.args, scope));
    case "concat":
      return concat(expression.items.map((item) => str(evaluate(item, scope))));
    case "slice": {
      const of = evaluate(expression.of, scope);
      const [start = null, stop = null, step = null] = expression.parts.map((part) => part && evaluate(part, scope));
      return slice(of, start, stop, step);
    }
    case "list":
      return expression.items.map((item) => evaluate(item, scope));
    case "tuple":
      return new Tuple(expression.items.map((item) => evaluate(item, scope)));
    case "dict":
      return dictOf(expression.pairs.map(([key, value]) => [evaluate(key, scope), evaluate(value, scope)] as const));
  }
}

function concat(texts: readonly string[]): string {
  let out = "";
  for (const text of texts) {
    spendCharacters(Math.min(out.length, text.length));
    out += text;
  }
  return out;
}

function evaluateUnary({ operator, operand }: Extract<Expression, { kind: "unary" }>, scope: Scope): Value {
  const value = evaluate(operand, scope);
  if (operator === "not") return !truth(value);
  if (value instanceof Undefined) value.fail();
  return operator === "-" ? negate(value) : affirm(value);
}

/** A chained comparison is true if all are, and stops at the first false one. */
function evaluateComparison({ first, rest }: Extract<Expression, { kind: "compare" }>, scope: Scope): boolean {
  let left = evaluate(first, scope);
  for (const [operator, other] of rest) {
    const right = evaluate(other, scope);
    if (!compared(operator, left, right)) return false;
    left = right;
  }
  return true;
}

function compared(operator: CompareOperator, left: Value, right: Value): boolean {
  switch (operator) {
    case "==":
      return equals(left, right);
    case "!=":
      return !equals(left, right);
    case "in":
      return contains(right, left);
    case "not in":
      return !contains(right, left);
    default:
      return compare(operator, left, right);
  }
}

/** @param body the value for a filter without an operand. */
export function applyFilter(filter: Filter, scope: Scope, body: Value): Value {
  const of = filter.of;
  const value = of === null ? body : of.kind === "filter" ? applyFilter(of, scope, body) : evaluate(of, scope);
  return registry.filter(filter.name, value, evaluateArguments(filter.args, scope));
}

function evaluateTest({ of, name, args }: Test, scope: Scope): boolean {
  return registry.test(name, evaluate(of, scope), evaluateArguments(args, scope));
}

const none: Arguments = { positional: [], keyword: new Map() };

export function evaluateArguments({ positional, keyword, rest, keywordRest }: CallArguments, scope: Scope): Arguments {
  if (positional.length === 0 && keyword.length === 0 && !rest && !keywordRest) return none;
  const values = positional.map((value) => evaluate(value, scope));
  if (rest) values.push(...listOf(evaluate(rest, scope)));
  const named = new Map<string, Value>(keyword.map(([name, value]) => [name, evaluate(value, scope)]));
  for (const [name, value] of keywordRest ? keywordsOf(evaluate(keywordRest, scope)) : []) {
    if (named.has(name)) typeFault(`got multiple values for keyword argument '${name}'`);
    named.set(name, value);
  }
  return { positional: values, keyword: named };
}

export function call(callee: Value, args: Arguments): Value {
  if (callee instanceof Callable) return callee.call(args);
  if (callee instanceof Undefined) return callee.fail();
  if (callee !== null && isHost(callee) && callee.call) return callee.call(args);
  return typeFault(`'${typeName(callee)}' object is not callable`);
}
