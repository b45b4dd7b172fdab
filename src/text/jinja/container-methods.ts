/** The methods of dicts, lists, tuples and ranges that do not mutate them. */

import { at } from "../../base/list.js";
import { type Bound, intArgument, parameters } from "./arguments.js";
import { spend } from "./budget.js";
import { equals, hashKey } from "./compare.js";
import { fault, typeFault, valueFault } from "./faults.js";
import { repr } from "./print.js";
import { iterate, listOf } from "./sequences.js";
import { type Callable, Dict, type HashKey, isList, Range, Tuple, type Value, View } from "./values.js";

type Method<T> = readonly [bind: ReturnType<typeof parameters>, run: (self: T, args: Bound) => Value];

const sequenceMethods: Readonly<Record<string, Method<readonly Value[]>>> = {
  count: [
    parameters("/value"),
    (items, [value = null]) => items.filter((item) => item === value || equals(item, value)).length,
  ],
  index: [
    parameters("/value start? stop?"),
    (items, [value = null, start, stop]) => {
      const place = (given: Value | undefined, otherwise: number): number => {
        const index = intArgument(given, otherwise);
        return index < 0 ? Math.max(0, index + items.length) : index;
      };
      const [begin, end] = [place(start, 0), Math.min(place(stop, items.length), items.length)];
      for (let index = begin; index < end; index++) {
        const item = at(items, index);
        if (item === value || equals(item, value)) return index;
      }
      return valueFault(`${repr(value)} is not in list`);
    },
  ],
};

const listMethods: Readonly<Record<string, Method<readonly Value[]>>> = {
  ...sequenceMethods,
  copy: [parameters(""), (items) => [...items]],
};

const dictMethods: Readonly<Record<string, Method<Dict>>> = {
  keys: [parameters(""), (dict) => new View(dict, "keys")],
  values: [parameters(""), (dict) => new View(dict, "values")],
  items: [parameters(""), (dict) => new View(dict, "items")],
  get: [
    parameters("/key default?"),
    (dict, [key = null, otherwise = null]) => {
      const entry = dict.entries.get(hashKey(key));
      return entry ? entry[1] : otherwise;
    },
  ],
  copy: [parameters(""), (dict) => new Dict(new Map(dict.entries))],
  fromkeys: [
    parameters("/keys value?"),
    (_, [keys = null, value = null]) => dictOf(listOf(keys).map((key) => [key, value])),
  ],
};

const viewMethods: Readonly<Record<string, Method<View>>> = {
  isdisjoint: [
    parameters("/other"),
    (view, [other = null]) => {
      const own = [...iterate(view)];
      return !listOf(other).some((item) => own.some((mine) => equals(mine, item)));
    },
  ],
};

/** A method bound to its value; undefined if there is none. */
export function containerMethod(value: Value, name: string): Callable["call"] | undefined {
  if (value instanceof Dict) return bindTo(value, dictMethods, name);
  if (isList(value)) return bindTo(value, listMethods, name);
  if (value instanceof Tuple) return bindTo(value.items, sequenceMethods, name);
  if (value instanceof Range) return bindTo([...iterate(value)], sequenceMethods, name);
  if (value instanceof View && value.kind !== "values") return bindTo(value, viewMethods, name);
  return undefined;
}

function bindTo<T>(self: T, methods: Readonly<Record<string, Method<T>>>, name: string): Callable["call"] | undefined {
  const method = Object.hasOwn(methods, name) ? methods[name] : undefined;
  return method && ((args) => method[1](self, method[0](args, name)));
}

/** A dict of pairs; of equal keys the first position and the last value count. */
export function dictOf(pairs: Iterable<readonly [Value, Value]>): Dict {
  const entries = new Map<HashKey, readonly [Value, Value]>();
  for (const [key, value] of pairs) {
    spend();
    const hash = hashKey(key);
    entries.set(hash, [entries.get(hash)?.[0] ?? key, value]);
  }
  return new Dict(entries);
}

/** dict(value): a copy of a dict, or one of pairs. */
export function dictFrom(value: Value): Dict {
  if (value instanceof Dict) return new Dict(new Map(value.entries));
  return dictOf(
    listOf(value).map((pair): readonly [Value, Value] => {
      const [key, item, ...more] = listOf(pair);
      if (key === undefined || item === undefined || more.length > 0) {
        return valueFault("dictionary update sequence element has a length that is not 2");
      }
      return [key, item];
    }),
  );
}

/** The keyword arguments in a dict. @throws TypeError unless it is a dict with string keys. */
export function keywordsOf(value: Value): Map<string, Value> {
  if (!(value instanceof Dict)) return typeFault("argument after ** must be a mapping");
  const keywords = new Map<string, Value>();
  for (const [key, item] of value.entries.values()) {
    if (typeof key !== "string") return fault("TypeError", "keywords must be strings");
    keywords.set(key, item);
  }
  return keywords;
}
