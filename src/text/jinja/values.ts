/** The values of a template: Python's, as far as templates need them. */

import { fault } from "./faults.js";

/** null is None; a number is an int that doubles hold exactly, a bigint any other int; an array is a list. */
export type Value =
  | null
  | boolean
  | number
  | bigint
  | string
  | Float
  | Markup
  | readonly Value[]
  | Tuple
  | Dict
  | Range
  | View
  | Iter
  | Undefined
  | Callable
  | HostObject;

export class Float {
  readonly value: number;

  constructor(value: number) {
    this.value = value;
  }
}

/** A text of escaped HTML. Text joined to it is escaped. */
export class Markup {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

export class Tuple {
  readonly items: readonly Value[];
  /** Attributes by name, for the groups of `groupby`. */
  readonly names: ReadonlyMap<string, Value> | null;

  constructor(items: readonly Value[], names: ReadonlyMap<string, Value> | null = null) {
    this.items = items;
    this.names = names;
  }
}

/** Equal keys have equal hash keys: 1, 1.0 and True are one key. */
export type HashKey = string | number | bigint | null | object;

/** A dict in insertion order. `compare.ts` computes the hash keys. */
export class Dict {
  readonly entries: Map<HashKey, readonly [key: Value, value: Value]>;

  constructor(entries = new Map<HashKey, readonly [Value, Value]>()) {
    this.entries = entries;
  }
}

export class Range {
  readonly start: number;
  readonly step: number;
  readonly length: number;
  /** The original stop, for printing. */
  readonly stop: number;

  constructor(start: number, stop: number, step: number) {
    this.start = start;
    this.stop = stop;
    this.step = step;
    this.length = Math.max(0, Math.ceil((stop - start) / step));
  }
}

/** The result of a dict's keys(), values() or items(). */
export class View {
  readonly dict: Dict;
  readonly kind: "keys" | "values" | "items";

  constructor(dict: Dict, kind: View["kind"]) {
    this.dict = dict;
    this.kind = kind;
  }
}

/** An iterator, which most filters return: it can be read once, and is always true. */
export class Iter implements Iterable<Value> {
  readonly typeName: string;
  readonly #items: Iterator<Value>;

  constructor(items: Iterable<Value>, typeName = "generator") {
    this.#items = items[Symbol.iterator]();
    this.typeName = typeName;
  }

  [Symbol.iterator](): Iterator<Value> {
    return { next: () => this.#items.next() };
  }
}

/** A missing name, attribute or item: prints as an empty text, is false and empty, and refuses everything else. */
export class Undefined {
  readonly #reason: string | (() => string);
  readonly #kind: "UndefinedError" | "SecurityError";

  constructor(reason: string | (() => string), kind: "UndefinedError" | "SecurityError" = "UndefinedError") {
    this.#reason = reason;
    this.#kind = kind;
  }

  fail(): never {
    return fault(this.#kind, typeof this.#reason === "string" ? this.#reason : this.#reason());
  }
}

export interface Arguments {
  readonly positional: readonly Value[];
  readonly keyword: ReadonlyMap<string, Value>;
}

export class Callable {
  readonly call: (args: Arguments) => Value;
  /** Its str(). */
  readonly description: string;

  constructor(description: string, call: (args: Arguments) => Value) {
    this.description = description;
    this.call = call;
  }
}

/** An object of the template engine: a loop, a namespace. */
export interface HostObject {
  readonly typeName: string;
  /** undefined if there is no such attribute. */
  attribute(name: string): Value | undefined;
  describe(): string;
  readonly call?: (args: Arguments) => Value;
}

export const isText = (value: Value): value is string | Markup => typeof value === "string" || value instanceof Markup;

export const textOf = (value: string | Markup): string => (typeof value === "string" ? value : value.text);

export const isList = (value: Value): value is readonly Value[] => Array.isArray(value);

const classNames: readonly (readonly [new (...args: never[]) => object, string])[] = [
  [Float, "float"],
  [Markup, "Markup"],
  [Tuple, "tuple"],
  [Dict, "dict"],
  [Range, "range"],
  [Undefined, "Undefined"],
  [Callable, "function"],
];

/** Python's `type(value).__name__`. */
export function typeName(value: Value): string {
  if (value === null) return "NoneType";
  if (typeof value === "boolean") return "bool";
  if (typeof value === "string") return "str";
  if (typeof value === "number" || typeof value === "bigint") return "int";
  if (isList(value)) return "list";
  if (value instanceof View) return `dict_${value.kind}`;
  for (const [type, name] of classNames) if (value instanceof type) return name;
  return "typeName" in value ? value.typeName : "object";
}

/** Host objects are those of none of the other classes. */
export function isHost(value: Value): value is HostObject {
  return typeof value === "object" && value !== null && "describe" in value;
}
