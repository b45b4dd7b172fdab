/** The types of filters and tests. */

import { type Bound, parameters } from "./arguments.js";
import type { Arguments, Value } from "./values.js";

/** How filters such as `map` and `select` find others by name. */
export interface Registry {
  filter(name: string, value: Value, args: Arguments): Value;
  test(name: string, value: Value, args: Arguments): boolean;
}

export type FilterFunction = (value: Value, args: Arguments, registry: Registry) => Value;
export type TestFunction = (value: Value, args: Arguments, registry: Registry) => boolean;
export type FilterTable = Readonly<Record<string, FilterFunction>>;
export type TestTable = Readonly<Record<string, TestFunction>>;

/** A filter or test whose arguments are bound to these parameters (see `parameters`). */
export function taking<T>(spec: string, run: (value: Value, args: Bound) => T): (value: Value, args: Arguments) => T {
  const bind = parameters(spec);
  return (value, args) => run(value, bind(args, "filter or test"));
}
