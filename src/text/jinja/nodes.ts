/** The syntax tree of a template. */

import type { Value } from "./values.js";

export interface CallArguments {
  readonly positional: readonly Expression[];
  readonly keyword: readonly (readonly [name: string, value: Expression])[];
  /** `*args` and `**kwargs`. */
  readonly rest: Expression | null;
  readonly keywordRest: Expression | null;
}

export type BinaryOperator = "+" | "-" | "*" | "/" | "//" | "%" | "**";
export type CompareOperator = "==" | "!=" | "<" | "<=" | ">" | ">=" | "in" | "not in";

export type Expression =
  | { readonly kind: "constant"; readonly value: Value }
  | { readonly kind: "name"; readonly name: string }
  | { readonly kind: "list" | "tuple"; readonly items: readonly Expression[] }
  | { readonly kind: "dict"; readonly pairs: readonly (readonly [Expression, Expression])[] }
  | { readonly kind: "attribute"; readonly of: Expression; readonly name: string }
  | { readonly kind: "item"; readonly of: Expression; readonly key: Expression }
  | { readonly kind: "slice"; readonly of: Expression; readonly parts: readonly (Expression | null)[] }
  | { readonly kind: "call"; readonly callee: Expression; readonly args: CallArguments }
  | Filter
  | Test
  | { readonly kind: "unary"; readonly operator: "-" | "+" | "not"; readonly operand: Expression }
  | {
      readonly kind: "binary";
      readonly operator: BinaryOperator;
      readonly left: Expression;
      readonly right: Expression;
    }
  | { readonly kind: "and" | "or"; readonly left: Expression; readonly right: Expression }
  | { readonly kind: "concat"; readonly items: readonly Expression[] }
  | {
      readonly kind: "compare";
      readonly first: Expression;
      readonly rest: readonly (readonly [CompareOperator, Expression])[];
    }
  | { readonly kind: "condition"; readonly test: Expression; readonly yes: Expression; readonly no: Expression | null };

export interface Filter {
  readonly kind: "filter";
  /** null in `{% filter %}` and `{% set x | filter %}`, where a body is filtered. */
  readonly of: Expression | null;
  readonly name: string;
  readonly args: CallArguments;
  readonly line: number;
}

export interface Test {
  readonly kind: "test";
  readonly of: Expression;
  readonly name: string;
  readonly args: CallArguments;
  readonly line: number;
}

export type Target =
  | { readonly kind: "name"; readonly name: string }
  | { readonly kind: "member"; readonly of: string; readonly name: string }
  | { readonly kind: "targets"; readonly items: readonly Target[] };

export interface Parameter {
  readonly name: string;
  readonly fallback: Expression | null;
}

export interface Signature {
  readonly parameters: readonly Parameter[];
  readonly body: readonly Statement[];
}

export type Statement = { readonly line: number } & (
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "output"; readonly value: Expression }
  | { readonly kind: "if"; readonly branches: readonly Branch[]; readonly otherwise: readonly Statement[] }
  | For
  | { readonly kind: "set"; readonly target: Target; readonly value: Expression }
  | {
      readonly kind: "capture";
      readonly target: Target;
      readonly filter: Filter | null;
      readonly body: readonly Statement[];
    }
  | { readonly kind: "macro"; readonly name: string; readonly signature: Signature }
  | { readonly kind: "callBlock"; readonly call: Expression & { kind: "call" }; readonly signature: Signature }
  | { readonly kind: "filterBlock"; readonly filter: Filter; readonly body: readonly Statement[] }
  | {
      readonly kind: "with";
      readonly bindings: readonly (readonly [Target, Expression])[];
      readonly body: readonly Statement[];
    }
  | { readonly kind: "scope"; readonly autoescape: Expression; readonly body: readonly Statement[] }
  | { readonly kind: "generation"; readonly body: readonly Statement[] }
  | Block
  | { readonly kind: "break" | "continue" }
  /** `{% include %}` and others that load templates: they parse, but fail when reached. */
  | { readonly kind: "loader"; readonly tag: string; readonly stores: readonly string[] }
);

export interface Branch {
  readonly test: Expression;
  readonly body: readonly Statement[];
}

export interface For {
  readonly kind: "for";
  readonly target: Target;
  readonly over: Expression;
  readonly test: Expression | null;
  readonly recursive: boolean;
  readonly body: readonly Statement[];
  readonly otherwise: readonly Statement[];
}

export interface Block {
  readonly kind: "block";
  readonly name: string;
  readonly scoped: boolean;
  readonly required: boolean;
  readonly body: readonly Statement[];
}
