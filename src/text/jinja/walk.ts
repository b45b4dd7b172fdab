/** Traversal of a template's syntax tree. */

import type { CallArguments, Expression, Statement, Target } from "./nodes.js";

const ofArguments = ({ positional, keyword, rest, keywordRest }: CallArguments): Expression[] => [
  ...positional,
  ...keyword.map(([, value]) => value),
  ...(rest ? [rest] : []),
  ...(keywordRest ? [keywordRest] : []),
];

/** The direct subexpressions of an expression, in source order. */
export function partsOf(expression: Expression): readonly Expression[] {
  switch (expression.kind) {
    case "constant":
    case "name":
      return [];
    case "list":
    case "tuple":
    case "concat":
      return expression.items;
    case "dict":
      return expression.pairs.flat();
    case "attribute":
      return [expression.of];
    case "item":
      return [expression.of, expression.key];
    case "slice":
      return [expression.of, ...expression.parts.filter((part) => part !== null)];
    case "call":
      return [expression.callee, ...ofArguments(expression.args)];
    case "filter":
      return [...(expression.of ? [expression.of] : []), ...ofArguments(expression.args)];
    case "test":
      return [expression.of, ...ofArguments(expression.args)];
    case "unary":
      return [expression.operand];
    case "binary":
    case "and":
    case "or":
      return [expression.left, expression.right];
    case "compare":
      return [expression.first, ...expression.rest.map(([, other]) => other)];
    case "condition":
      return [expression.test, expression.yes, ...(expression.no ? [expression.no] : [])];
  }
}

/** The names that an expression reads. */
export function* namesIn(expression: Expression): Generator<string> {
  if (expression.kind === "name") yield expression.name;
  for (const part of partsOf(expression)) yield* namesIn(part);
}

/** The names that a target assigns to; a namespace's member assigns to none. */
export function targetNames(target: Target): string[] {
  if (target.kind === "name") return [target.name];
  return target.kind === "targets" ? target.items.flatMap(targetNames) : [];
}

export function targetMembers(target: Target): string[] {
  if (target.kind === "member") return [target.of];
  return target.kind === "targets" ? target.items.flatMap(targetMembers) : [];
}

interface Use {
  readonly name: string;
  readonly isRead: boolean;
}

const reads = function* (expression: Expression | null): Generator<Use> {
  if (expression) for (const name of namesIn(expression)) yield { name, isRead: true };
};

const writes = (names: readonly string[]): Use[] => names.map((name) => ({ name, isRead: false }));

function* usesInAll(bodies: readonly (readonly Statement[])[]): Generator<Use> {
  for (const body of bodies) for (const statement of body) yield* usesIn(statement);
}

/** Every use of a name in a statement and its children, except blocks, in the order in which Jinja2 visits them. */
function* usesIn(statement: Statement): Generator<Use> {
  switch (statement.kind) {
    case "output":
      return yield* reads(statement.value);
    case "if":
      for (const { test, body } of statement.branches) {
        yield* reads(test);
        yield* usesInAll([body]);
      }
      return yield* usesInAll([statement.otherwise]);
    case "for":
      yield* writes(targetNames(statement.target));
      yield* reads(statement.over);
      yield* usesInAll([statement.body, statement.otherwise]);
      return yield* reads(statement.test);
    case "set":
      yield* writes(targetNames(statement.target));
      return yield* reads(statement.value);
    case "capture":
      yield* writes(targetNames(statement.target));
      yield* reads(statement.filter);
      return yield* usesInAll([statement.body]);
    case "macro":
    case "callBlock":
      if (statement.kind === "callBlock") yield* reads(statement.call);
      yield* writes(statement.signature.parameters.map(({ name }) => name));
      for (const { fallback } of statement.signature.parameters) yield* reads(fallback);
      return yield* usesInAll([statement.signature.body]);
    case "filterBlock":
      yield* usesInAll([statement.body]);
      return yield* reads(statement.filter);
    case "with":
      for (const [target] of statement.bindings) yield* writes(targetNames(target));
      for (const [, value] of statement.bindings) yield* reads(value);
      return yield* usesInAll([statement.body]);
    case "scope":
      yield* reads(statement.autoescape);
      return yield* usesInAll([statement.body]);
    case "generation":
      return yield* usesInAll([statement.body]);
    default:
      return;
  }
}

/** Whether a body reads a name before it assigns it. */
export function readsName(body: readonly Statement[], sought: string): boolean {
  for (const { name, isRead } of usesInAll([body])) if (name === sought) return isRead;
  return false;
}
