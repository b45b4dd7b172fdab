/** The `loop` variable: a loop's position in its items, with one item of lookahead on demand. */

import { at } from "../../base/list.js";
import { equals } from "./compare.js";
import { fault, typeFault } from "./faults.js";
import { iterate, sizeOf } from "./sequences.js";
import { type Arguments, Callable, type HostObject, Iter, Tuple, Undefined, type Value } from "./values.js";

export class Loop implements HostObject {
  readonly typeName = "LoopContext";
  readonly depth0: number;
  readonly #recurse: ((items: Value, depth: number) => Value) | null;
  #items: Iterator<Value>;
  #length: number | null;
  #index0 = -1;
  /** The item after the current one, once it was read. */
  #ahead: { readonly item: Value } | "end" | null = null;
  #current: Value = null;
  #previous: Value = null;
  #lastChanged: Tuple | null = null;

  constructor(over: Value, recurse: ((items: Value, depth: number) => Value) | null, depth0: number) {
    this.#items = iterate(over);
    this.#length = over instanceof Iter ? null : sizeOf(over);
    this.#recurse = recurse;
    this.depth0 = depth0;
  }

  /** Moves to the next item; null at the end. */
  next(): { readonly item: Value } | null {
    const next = this.#peek();
    if (next === "end") return null;
    this.#ahead = null;
    this.#index0++;
    this.#previous = this.#current;
    this.#current = next.item;
    return next;
  }

  #peek(): { readonly item: Value } | "end" {
    if (this.#ahead === null) {
      const { done, value } = this.#items.next();
      this.#ahead = done ? "end" : { item: value };
    }
    return this.#ahead;
  }

  /** Reads the remaining items if the length is unknown. */
  #count(): number {
    if (this.#length !== null) return this.#length;
    const rest: Value[] = [];
    for (let step = this.#items.next(); !step.done; step = this.#items.next()) rest.push(step.value);
    const ahead = this.#ahead !== null && this.#ahead !== "end" ? 1 : 0;
    this.#items = rest[Symbol.iterator]();
    this.#length = this.#index0 + 1 + ahead + rest.length;
    return this.#length;
  }

  attribute(name: string): Value | undefined {
    switch (name) {
      case "index":
        return this.#index0 + 1;
      case "index0":
        return this.#index0;
      case "revindex":
        return this.#count() - this.#index0;
      case "revindex0":
        return this.#count() - this.#index0 - 1;
      case "first":
        return this.#index0 === 0;
      case "last":
        return this.#peek() === "end";
      case "length":
        return this.#count();
      case "depth":
        return this.depth0 + 1;
      case "depth0":
        return this.depth0;
      case "previtem":
        return this.#index0 === 0 ? new Undefined("there is no previous item") : this.#previous;
      case "nextitem":
        return this.#nextItem();
      case "cycle":
        return new Callable("<bound method LoopContext.cycle>", (args) => this.#cycle(args));
      case "changed":
        return new Callable("<bound method LoopContext.changed>", (args) => this.#changed(args));
      default:
        return undefined;
    }
  }

  #nextItem(): Value {
    const next = this.#peek();
    return next === "end" ? new Undefined("there is no next item") : next.item;
  }

  #cycle({ positional }: Arguments): Value {
    if (positional.length === 0) typeFault("no items for cycling given");
    return at(positional, this.#index0 % positional.length);
  }

  #changed({ positional }: Arguments): boolean {
    const value = new Tuple(positional);
    if (this.#lastChanged !== null && equals(this.#lastChanged, value)) return false;
    this.#lastChanged = value;
    return true;
  }

  describe(): string {
    return `<LoopContext ${this.#index0 + 1}/${this.#count()}>`;
  }

  /** loop(items): runs the loop's body over other items, one level deeper. */
  readonly call = (args: Arguments): Value => {
    const [items, ...more] = args.positional;
    if (items === undefined || more.length > 0 || args.keyword.size > 0)
      return typeFault("loop() takes the items to iterate over");
    if (this.#recurse) return this.#recurse(items, this.depth0 + 1);
    return fault("TypeError", "The loop must have the 'recursive' marker to be called recursively.");
  };
}
