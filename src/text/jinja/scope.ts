/** Variables: one scope per running template part, nested in the scope of the enclosing part. */

import { repr } from "./print.js";
import { Undefined, type Value } from "./values.js";

/** Marks a name that is assigned later in its part. */
const unassigned = Symbol("unassigned");

export class Scope {
  readonly #around: Scope | null;
  readonly #values = new Map<string, Value | typeof unassigned>();

  constructor(around: Scope | null, hidden: readonly string[] | undefined = undefined) {
    this.#around = around;
    if (hidden) for (const name of hidden) this.#values.set(name, unassigned);
  }

  set(name: string, value: Value): void {
    this.#values.set(name, value);
  }

  get(name: string): Value {
    for (let scope: Scope | null = this; scope; scope = scope.#around) {
      const value = scope.#values.get(name);
      if (value === unassigned) break;
      if (value !== undefined) return value;
    }
    return new Undefined(() => `${repr(name)} is undefined`);
  }
}
