/**
 * Puts rules in the place of their calls, except those that call themselves, which stay rules. A token that runs past the end of
 * a rule costs work at each step, and grammars written by hand have rules for single characters.
 */
import { at } from "../base/list.js";
import { call, type Expression } from "./expression.js";

/** A larger rule stays a rule: a few small ones can expand to a huge expression. */
const maxInlinedNodes = 4096;

interface Inlined {
  readonly expression: Expression;
  readonly nodes: number;
}

export function inlined(rules: readonly Expression[]): readonly Expression[] {
  const isRecursive = rules.map((_, rule) => reaches(rules, rule));
  const done = new Map<number, Inlined>();
  const kept: number[] = [0];
  const inline = (expression: Expression): Inlined => {
    switch (expression.kind) {
      case "call": {
        const { rule } = expression;
        const found = rule === 0 || isRecursive[rule] ? null : expand(rule);
        if (found && found.nodes <= maxInlinedNodes) return found;
        if (!kept.includes(rule)) kept.push(rule);
        return { expression: call(kept.indexOf(rule)), nodes: 1 };
      }
      case "sequence":
      case "either": {
        const items = expression.items.map(inline);
        const nodes = items.reduce((sum, item) => sum + item.nodes, 1);
        return { expression: { kind: expression.kind, items: items.map((item) => item.expression) }, nodes };
      }
      case "repeat": {
        const item = inline(expression.item);
        const times = expression.max ?? expression.min + 1;
        return { expression: { ...expression, item: item.expression }, nodes: 1 + times * item.nodes };
      }
      default:
        return { expression, nodes: 1 };
    }
  };
  const expand = (rule: number): Inlined => {
    const known = done.get(rule) ?? inline(at(rules, rule));
    done.set(rule, known);
    return known;
  };
  // Inlining a rule that is kept may keep further ones.
  const expressions: Expression[] = [];
  for (const rule of kept) expressions.push(expand(rule).expression);
  return expressions;
}

/** Whether a rule calls itself, by way of others or not. */
function reaches(rules: readonly Expression[], from: number): boolean {
  const seen = new Set(callsOf(at(rules, from)));
  for (const rule of seen) {
    if (rule === from) return true;
    for (const called of callsOf(at(rules, rule))) seen.add(called);
  }
  return false;
}

function callsOf(expression: Expression): readonly number[] {
  switch (expression.kind) {
    case "call":
      return [expression.rule];
    case "sequence":
    case "either":
      return expression.items.flatMap(callsOf);
    case "repeat":
      return callsOf(expression.item);
    default:
      return [];
  }
}
