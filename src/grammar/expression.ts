/** A language as a tree. Schemas and patterns are parsed to it, and automata compiled from it. */

import type { Automaton } from "./automaton-types.js";

/** Code points from the first to the second, both included. */
export type Range = readonly [number, number];

export type Expression =
  /** One character of these. No range: nothing at all. */
  | { readonly kind: "chars"; readonly ranges: readonly Range[] }
  | { readonly kind: "sequence"; readonly items: readonly Expression[] }
  | { readonly kind: "either"; readonly items: readonly Expression[] }
  | { readonly kind: "repeat"; readonly item: Expression; readonly min: number; readonly max: number | null }
  /** Texts of both, or with `except` those of `left` that are not of `right`. Neither calls a rule. */
  | { readonly kind: "both" | "except"; readonly left: Expression; readonly right: Expression }
  | { readonly kind: "call"; readonly rule: number }
  /** The entries in this order, with the separator between those that occur; with any, `before` and `after` around them. */
  | {
      readonly kind: "list";
      readonly entries: readonly ListEntry[];
      readonly separator: Expression;
      readonly before: Expression;
      readonly after: Expression;
    }
  | { readonly kind: "automaton"; readonly automaton: Automaton };

export interface ListEntry {
  readonly item: Expression;
  /** How often it may occur: once, at most once, or any number of times. */
  readonly times: "once" | "optional" | "any";
}

export const lastCodePoint = 0x10ffff;

export const chars = (...ranges: readonly Range[]): Expression => ({ kind: "chars", ranges });
export const sequence = (...items: readonly Expression[]): Expression => ({ kind: "sequence", items });
export const either = (...items: readonly Expression[]): Expression => ({ kind: "either", items });
export const repeat = (item: Expression, min = 0, max: number | null = null): Expression =>
  max !== null && min > max ? nothing : { kind: "repeat", item, min, max };
export const optional = (item: Expression): Expression => repeat(item, 0, 1);
export const both = (left: Expression, right: Expression): Expression => ({ kind: "both", left, right });
export const except = (left: Expression, right: Expression): Expression => ({ kind: "except", left, right });
export const call = (rule: number): Expression => ({ kind: "call", rule });

export const empty = sequence();
export const nothing = either();

/** The text itself. */
export function text(value: string): Expression {
  return sequence(...Array.from(value, (character) => single(character.codePointAt(0) ?? 0)));
}

export const single = (codePoint: number): Expression => chars([codePoint, codePoint]);

/** One of the characters of `set`. */
export const oneOf = (set: string): Expression =>
  chars(...Array.from(set, (character): Range => [character.codePointAt(0) ?? 0, character.codePointAt(0) ?? 0]));

/** Sorted, without overlaps. */
export function normalized(ranges: readonly Range[]): Range[] {
  const merged: [number, number][] = [];
  for (const [from, to] of [...ranges].sort((a, b) => a[0] - b[0])) {
    const previous = merged.at(-1);
    if (previous && from <= previous[1] + 1) previous[1] = Math.max(previous[1], to);
    else merged.push([from, to]);
  }
  return merged;
}

/** Every other code point. */
export function complement(ranges: readonly Range[]): Range[] {
  const rest: Range[] = [];
  let next = 0;
  for (const [from, to] of normalized(ranges)) {
    if (from > next) rest.push([next, from - 1]);
    next = to + 1;
  }
  if (next <= lastCodePoint) rest.push([next, lastCodePoint]);
  return rest;
}

export const intersection = (a: readonly Range[], b: readonly Range[]): Range[] =>
  complement([...complement(a), ...complement(b)]);
