/** The values of a template: Python's, as far as templates meet them. Knows no operation on them. */

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

/** A text that is escaped HTML already. What is joined to it gets escaped. */
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

/** A dict in the order of insertion. `hash.ts` makes the keys. */
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
  /** As it was given, for printing. */
  readonly stop: number;

  constructor(start: number, stop: number, step: number) {
    this.start = start;
    this.stop = stop;
    this.step = step;
    this.length = Math.max(0, Math.ceil((stop - start) / step));
  }
}

/** What keys(), values() and items() of a dict give. */
export class View {
  readonly dict: Dict;
  readonly kind: "keys" | "values" | "items";

  constructor(dict: Dict, kind: View["kind"]) {
    this.dict = dict;
    this.kind = kind;
  }
}

/** An iterator, such as most filters give: it can be gone through once, and is always true. */
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

/** A name, attribute or item that is not there: prints as nothing, is false and empty, and refuses all else. */
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
  /** How it is printed. */
  readonly description: string;

  constructor(description: string, call: (args: Arguments) => Value) {
    this.description = description;
    this.call = call;
  }
}

/** An object of the engine's own: a loop, a namespace. */
export interface HostObject {
  readonly typeName: string;
  /** undefined where there is no such attribute. */
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

/** What Python's `type(value).__name__` is. */
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

/** The engine's own objects are what is of none of the other classes. */
export function isHost(value: Value): value is HostObject {
  return typeof value === "object" && value !== null && "describe" in value;
}
