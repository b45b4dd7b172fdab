/** Finds rules that begin with themselves: they would be followed without end. */
import { at } from "../base/list.js";
import type { Expression } from "./expression.js";

/** A rule that calls itself before any character, by way of others or behind what may be empty; null where there is none. */
export function leftRecursive(rules: readonly Expression[]): number | null {
  const nullable = nullableRules(rules);
  const first = rules.map((rule) => new Set(firstCalls(rule, nullable)));
  for (const rule of rules.keys()) {
    const seen = new Set(at(first, rule));
    for (const called of seen) {
      if (called === rule) return rule;
      for (const next of at(first, called)) seen.add(next);
    }
  }
  return null;
}

function nullableRules(rules: readonly Expression[]): ReadonlySet<number> {
  const nullable = new Set<number>();
  for (let before = -1; before !== nullable.size; ) {
    before = nullable.size;
    for (const [rule, expression] of rules.entries()) if (mayBeEmpty(expression, nullable)) nullable.add(rule);
  }
  return nullable;
}

function mayBeEmpty(expression: Expression, nullable: ReadonlySet<number>): boolean {
  switch (expression.kind) {
    case "chars":
      return false;
    case "sequence":
      return expression.items.every((item) => mayBeEmpty(item, nullable));
    case "either":
      return expression.items.some((item) => mayBeEmpty(item, nullable));
    case "repeat":
      return expression.min === 0 || mayBeEmpty(expression.item, nullable);
    case "call":
      return nullable.has(expression.rule);
    case "list":
      return expression.entries.every(({ item, times }) => times !== "once" || mayBeEmpty(item, nullable));
    case "automaton":
      return expression.automaton.accepts[expression.automaton.start] === true;
    case "both":
      return mayBeEmpty(expression.left, nullable) && mayBeEmpty(expression.right, nullable);
    case "except":
      return mayBeEmpty(expression.left, nullable) && !mayBeEmpty(expression.right, nullable);
  }
}

/** The rules that are called before any character. */
function* firstCalls(expression: Expression, nullable: ReadonlySet<number>): Iterable<number> {
  switch (expression.kind) {
    case "call":
      yield expression.rule;
      return;
    case "sequence":
      for (const item of expression.items) {
        yield* firstCalls(item, nullable);
        if (!mayBeEmpty(item, nullable)) return;
      }
      return;
    case "either":
      for (const item of expression.items) yield* firstCalls(item, nullable);
      return;
    case "repeat":
      yield* firstCalls(expression.item, nullable);
      return;
    case "list":
      yield* firstCalls(expression.before, nullable);
      for (const { item, times } of expression.entries) {
        yield* firstCalls(item, nullable);
        if (times === "once" && !mayBeEmpty(item, nullable)) return;
      }
  }
}
