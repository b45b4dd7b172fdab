/** Binds the arguments of a call to parameters. */

import { typeFault } from "./faults.js";
import { type Int, indexOf, isInt } from "./numbers.js";
import { type Arguments, isText, textOf, typeName, Undefined, type Value } from "./values.js";

export const noArguments: Arguments = { positional: [], keyword: new Map() };

/** Values in the order of the parameters; undefined for a missing argument. */
export type Bound = readonly (Value | undefined)[];

/**
 * Creates a binder from parameter names separated by spaces: "old new count?" has one optional parameter. A leading "/" makes all of
 * them positional-only.
 */
export function parameters(spec: string): (args: Arguments, callee: string) => Bound {
  const positionalOnly = spec.startsWith("/");
  const names = spec.replace("/", "").split(" ").filter(Boolean);
  const required = names.filter((name) => !name.endsWith("?")).length;
  const plain = names.map((name) => name.replace("?", ""));
  return ({ positional, keyword }, callee) => {
    if (positional.length > plain.length) {
      typeFault(`${callee}() takes at most ${plain.length} argument(s), ${positional.length} given`);
    }
    const bound: (Value | undefined)[] = [...positional];
    for (const [name, value] of keyword) {
      const place = positionalOnly ? -1 : plain.indexOf(name);
      if (place < 0) typeFault(`${callee}() got an unexpected keyword argument '${name}'`);
      if (place < positional.length) typeFault(`${callee}() got multiple values for argument '${name}'`);
      bound[place] = value;
    }
    const missing = plain.slice(0, required).findIndex((_, place) => bound[place] === undefined);
    if (missing >= 0) typeFault(`${callee}() misses the argument '${plain[missing]}'`);
    return bound;
  };
}

/** A text argument. @throws TypeError for anything else. */
export function textArgument(value: Value | undefined): string {
  if (value !== undefined && isText(value)) return textOf(value);
  return typeFault(`expected a string, found ${value === undefined ? "nothing" : typeName(value)}`);
}

/** A text, None or a missing argument. */
export const optionalText = (value: Value | undefined): string | null =>
  value === undefined || value === null ? null : textArgument(value);

/** A count or an index. */
export function intArgument(value: Value | undefined, otherwise: number): number {
  if (value === undefined) return otherwise;
  if (value instanceof Undefined) value.fail();
  return indexOf(value);
}

/** An int of any size. */
export function wholeArgument(value: Value): Int | boolean {
  return isInt(value) ? value : typeFault(`'${typeName(value)}' object cannot be interpreted as an integer`);
}
