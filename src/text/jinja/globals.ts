/** The globals of templates: Jinja2's, and those that transformers adds. */

import { at } from "../../base/list.js";
import { strftime } from "../chat/strftime.js";
import { intArgument, parameters, textArgument } from "./arguments.js";
import { dictFrom, dictOf } from "./container-methods.js";
import { fault, RaisedFault, typeFault, valueFault } from "./faults.js";
import { repr, reprDict, str } from "./print.js";
import { type Arguments, Callable, Dict, type HostObject, Range, Undefined, type Value } from "./values.js";

/** As in Jinja2's sandbox. */
const maxRange = 100_000;

/** The target of `{% set ns.name = value %}`. */
export class Namespace implements HostObject {
  readonly typeName = "Namespace";
  readonly #members: Map<string, Value>;

  constructor(members: Map<string, Value>) {
    this.#members = members;
  }

  attribute(name: string): Value | undefined {
    return this.#members.get(name);
  }

  set(name: string, value: Value): void {
    this.#members.set(name, value);
  }

  describe(): string {
    return `<Namespace ${reprDict(dictOf(this.#members))}>`;
  }
}

class Cycler implements HostObject {
  readonly typeName = "Cycler";
  readonly #items: readonly Value[];
  #at = 0;

  constructor(items: readonly Value[]) {
    if (items.length === 0) fault("TemplateRuntimeError", "at least one item has to be provided");
    this.#items = items;
  }

  attribute(name: string): Value | undefined {
    if (name === "items") return this.#items;
    if (name === "pos") return this.#at;
    if (name === "current") return at(this.#items, this.#at);
    if (name === "next") return new Callable("<bound method Cycler.next>", () => this.#next());
    if (name === "reset") return new Callable("<bound method Cycler.reset>", () => this.#reset());
    return undefined;
  }

  describe(): string {
    return "<jinja2.utils.Cycler object>";
  }

  #next(): Value {
    const item = at(this.#items, this.#at);
    this.#at = (this.#at + 1) % this.#items.length;
    return item;
  }

  #reset(): Value {
    this.#at = 0;
    return null;
  }
}

class Joiner implements HostObject {
  readonly typeName = "Joiner";
  readonly #separator: Value;
  #used = false;

  constructor(separator: Value) {
    this.#separator = separator;
  }

  attribute(name: string): Value | undefined {
    return name === "sep" ? this.#separator : name === "used" ? this.#used : undefined;
  }

  describe(): string {
    return "<jinja2.utils.Joiner object>";
  }

  readonly call = (): Value => {
    const first = !this.#used;
    this.#used = true;
    return first ? "" : this.#separator;
  };
}

function range({ positional, keyword }: Arguments): Range {
  if (keyword.size > 0) typeFault("range() takes no keyword arguments");
  if (positional.length < 1 || positional.length > 3)
    typeFault(`range expected 1 to 3 arguments, got ${positional.length}`);
  const [first = 0, second = 0, step = 1] = positional.map((value) => {
    if (value instanceof Undefined) return typeFault("'Undefined' object cannot be interpreted as an integer");
    return intArgument(value, 0);
  });
  if (step === 0) valueFault("range() arg 3 must not be zero");
  const made = positional.length === 1 ? new Range(0, first, 1) : new Range(first, second, step);
  if (made.length <= maxRange) return made;
  return fault("OverflowError", `Range too big. The sandbox blocks ranges larger than MAX_RANGE (${maxRange}).`);
}

/** The dict or list of pairs given to dict() or namespace(), updated with the keyword arguments. */
function members({ positional, keyword }: Arguments): Dict {
  if (positional.length > 1) typeFault(`dict expected at most 1 argument, got ${positional.length}`);
  const given = positional[0] === undefined ? new Dict() : dictFrom(positional[0]);
  return dictOf([...given.entries.values(), ...keyword]);
}

function namespace(args: Arguments): Namespace {
  const pairs = [...members(args).entries.values()];
  return new Namespace(new Map(pairs.map(([key, value]) => [typeof key === "string" ? key : repr(key), value])));
}

const one = parameters("message");
const format = parameters("format");
const separator = parameters("sep?");

const functions: Readonly<Record<string, (args: Arguments) => Value>> = {
  range,
  dict: members,
  namespace,
  cycler: ({ positional }) => new Cycler(positional),
  joiner: (args) => new Joiner(separator(args, "joiner")[0] ?? ", "),
  lipsum: () => fault("NotSupported", "lipsum() is not supported"),
  raise_exception: (args) => {
    throw new RaisedFault(str(one(args, "raise_exception")[0] ?? null));
  },
  strftime_now: (args) => strftime(new Date(), textArgument(format(args, "strftime_now")[0])),
};

export const globals: ReadonlyMap<string, Value> = new Map(
  Object.entries(functions).map(([name, call]) => [name, new Callable(`<function ${name}>`, call)]),
);
