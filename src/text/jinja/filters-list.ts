/** The filters over items. Most return an iterator, as in Jinja2. */

import { at } from "../../base/list.js";
import { type Bound, intArgument } from "./arguments.js";
import { spend } from "./budget.js";
import { compare, equals, hashKey } from "./compare.js";
import { fault, typeFault, valueFault } from "./faults.js";
import { attributeGetter, attributesGetter, foldCase, sortBy } from "./filter-access.js";
import { type FilterFunction, type FilterTable, type Registry, taking } from "./filter-table.js";
import { operate } from "./operators.js";
import { iterate, listOf, reversed, sizeOf, truth } from "./sequences.js";
import {
  type Arguments,
  Dict,
  type HashKey,
  Iter,
  isHost,
  isList,
  isText,
  Range,
  Tuple,
  textOf,
  typeName,
  Undefined,
  type Value,
} from "./values.js";

const empty = (what: string): Undefined => new Undefined(`No ${what}, sequence was empty.`);

function* batches(value: Value, count: number, fill: Value): Generator<Value> {
  let batch: Value[] = [];
  for (const item of iterate(value)) {
    if (batch.length === count) {
      yield batch;
      batch = [];
    }
    batch.push(item);
  }
  if (batch.length === 0) return;
  if (fill !== null) spend(Math.max(0, count - batch.length));
  if (fill !== null) while (batch.length < count) batch.push(fill);
  yield batch;
}

function* slices(value: Value, count: number, fill: Value): Generator<Value> {
  const items = listOf(value);
  if (count === 0) fault("ZeroDivisionError", "integer division or modulo by zero");
  const size = Math.floor(items.length / count);
  const larger = items.length % count;
  let begin = 0;
  for (let i = 0; i < count; i++) {
    const end = begin + size + (i < larger ? 1 : 0);
    yield fill !== null && i >= larger ? [...items.slice(begin, end), fill] : items.slice(begin, end);
    begin = end;
  }
}

function* uniques(value: Value, caseSensitive: boolean, attribute: Value): Generator<Value> {
  const [get, fold] = [attributeGetter(attribute), foldCase(caseSensitive)];
  const seen = new Set<HashKey>();
  for (const item of iterate(value)) {
    const key = hashKey(fold(get(item)));
    if (!seen.has(key)) yield item;
    seen.add(key);
  }
}

/** min and max: the first of the extreme items. */
const extreme = (operator: "<" | ">"): FilterFunction =>
  taking("case_sensitive? attribute?", (value, [caseSensitive = false, attribute = null]) => {
    const [get, fold] = [attributeGetter(attribute), foldCase(truth(caseSensitive))];
    let best: { item: Value; key: Value } | null = null;
    for (const item of iterate(value)) {
      const key = fold(get(item));
      if (best === null || compare(operator, key, best.key)) best = { item, key };
    }
    return best === null ? new Undefined("No aggregated item, sequence was empty.") : best.item;
  });

function grouped(value: Value, [attribute = null, fallback, caseSensitive = false]: Bound): Value {
  const [get, fold] = [attributeGetter(attribute, fallback), foldCase(truth(caseSensitive))];
  const groups: { key: Value; items: Value[] }[] = [];
  for (const item of sortBy(listOf(value), (each) => fold(get(each)), false)) {
    const key = fold(get(item));
    const last = groups.at(-1);
    if (last && equals(last.key, key)) last.items.push(item);
    else groups.push({ key, items: [item] });
  }
  return groups.map(({ items }) => {
    const grouper = truth(caseSensitive) ? fold(get(at(items, 0))) : get(at(items, 0));
    return new Tuple([grouper, items], new Map<string, Value>(Object.entries({ grouper, list: items })));
  });
}

function sum(value: Value, attribute: Value, start: Value): Value {
  if (isText(start)) typeFault("sum() can't sum strings [use ''.join(seq) instead]");
  const get = attribute === null ? null : attributeGetter(attribute);
  let total = start;
  for (const item of iterate(value)) total = operate("+", total, get ? get(item) : item);
  return total;
}

function sortedDict(value: Value, [caseSensitive = false, by = "key", reverse = false]: Bound): Value {
  if (value instanceof Undefined) value.fail();
  if (!(value instanceof Dict)) return typeFault(`'${typeName(value)}' object has no attribute 'items'`);
  if (by !== "key" && by !== "value") return valueFault('You can only sort by either "key" or "value"');
  const fold = foldCase(truth(caseSensitive));
  const pairs = sortBy([...value.entries.values()], ([key, item]) => fold(by === "key" ? key : item), truth(reverse));
  return pairs.map((pair) => new Tuple(pair));
}

function* items(value: Value): Generator<Value> {
  if (value instanceof Undefined) return;
  if (!(value instanceof Dict)) return typeFault("Can only get item pairs from a mapping.");
  for (const pair of value.entries.values()) yield new Tuple(pair);
}

/** The argument at `place` as a name, and the arguments after it. */
function named(args: Arguments, place: number): { name: string; rest: Arguments } | null {
  const name = args.positional[place];
  if (name === undefined) return null;
  if (!isText(name)) return fault("TemplateRuntimeError", `No filter or test named ${typeName(name)}`);
  return { name: textOf(name), rest: { positional: args.positional.slice(place + 1), keyword: args.keyword } };
}

function mapper(args: Arguments, registry: Registry): (item: Value) => Value {
  const attribute = args.keyword.get("attribute");
  if (args.positional.length === 0 && attribute !== undefined) {
    const unknown = [...args.keyword.keys()].find((key) => key !== "attribute" && key !== "default");
    if (unknown !== undefined) fault("TemplateRuntimeError", `Unexpected keyword argument '${unknown}'`);
    return attributeGetter(attribute, args.keyword.get("default"));
  }
  const called = named(args, 0) ?? fault("TemplateRuntimeError", "map requires a filter argument");
  return (item) => registry.filter(called.name, item, called.rest);
}

function* mapped(value: Value, args: Arguments, registry: Registry): Generator<Value> {
  if (!truth(value)) return;
  const apply = mapper(args, registry);
  for (const item of iterate(value)) yield apply(item);
}

/** select, reject, selectattr and rejectattr. */
const choosing =
  (wanted: boolean, byAttribute: boolean): FilterFunction =>
  (value, args, registry) =>
    new Iter(chosen(value, args, registry, wanted, byAttribute));

function* chosen(
  value: Value,
  args: Arguments,
  registry: Registry,
  wanted: boolean,
  byAttribute: boolean,
): Generator<Value> {
  if (!truth(value)) return;
  const [attribute] = args.positional;
  if (byAttribute && attribute === undefined) fault("TemplateRuntimeError", "Missing parameter for attribute name");
  const get = byAttribute ? attributeGetter(attribute ?? null) : (item: Value) => item;
  const test = named(args, byAttribute ? 1 : 0);
  for (const item of iterate(value)) {
    const subject = get(item);
    if ((test ? registry.test(test.name, subject, test.rest) : truth(subject)) === wanted) yield item;
  }
}

function reverse(value: Value): Value {
  if (isText(value)) return Array.from(textOf(value)).reverse().join("");
  if (value instanceof Iter) return [...iterate(value)].reverse();
  const names = isList(value) ? "list_reverseiterator" : value instanceof Range ? "range_iterator" : "reversed";
  return new Iter(reversed(value), names);
}

function last(value: Value): Value {
  const [item] = reversed(value);
  return item === undefined ? empty("last item") : item;
}

const length = taking("", (value) => sizeOf(value) ?? typeFault(`object of type '${typeName(value)}' has no len()`));

export const listFilters: FilterTable = {
  batch: taking(
    "linecount fill_with?",
    (value, [count, fill = null]) => new Iter(batches(value, intArgument(count, 0), fill)),
  ),
  count: length,
  dictsort: taking("case_sensitive? by? reverse?", sortedDict),
  first: taking("", (value) => {
    for (const item of iterate(value)) return item;
    return empty("first item");
  }),
  groupby: taking("attribute default? case_sensitive?", grouped),
  items: taking("", (value) => new Iter(items(value))),
  last: taking("", last),
  length,
  list: taking("", (value) =>
    isHost(value) ? typeFault(`'${typeName(value)}' object is not iterable`) : listOf(value),
  ),
  map: (value, args, registry) => new Iter(mapped(value, args, registry)),
  max: extreme(">"),
  min: extreme("<"),
  reject: choosing(false, false),
  rejectattr: choosing(false, true),
  reverse: taking("", reverse),
  select: choosing(true, false),
  selectattr: choosing(true, true),
  slice: taking(
    "slices fill_with?",
    (value, [count, fill = null]) => new Iter(slices(value, intArgument(count, 0), fill)),
  ),
  sort: taking(
    "reverse? case_sensitive? attribute?",
    (value, [descending = false, caseSensitive = false, attribute = null]) => {
      const [get, fold] = [attributesGetter(attribute), foldCase(truth(caseSensitive))];
      return sortBy(listOf(value), (item) => get(item).map(fold), truth(descending));
    },
  ),
  sum: taking("attribute? start?", (value, [attribute = null, start = 0]) => sum(value, attribute, start)),
  unique: taking(
    "case_sensitive? attribute?",
    (value, [caseSensitive = false, attribute = null]) => new Iter(uniques(value, truth(caseSensitive), attribute)),
  ),
};
