/** How filters access items: attributes by path, tests and filters by name. */

import { getItem } from "./attributes.js";
import { compare } from "./compare.js";
import { isText, textOf, Undefined, type Value } from "./values.js";

/** A getter for an item's `attribute`: a dotted path, an index, or None for the item itself. */
export function attributeGetter(attribute: Value, fallback: Value | undefined = undefined): (item: Value) => Value {
  const parts = pathOf(attribute);
  return (item) => {
    let value = item;
    for (const part of parts) {
      value = getItem(value, part);
      if (fallback !== undefined && fallback !== null && value instanceof Undefined) value = fallback;
    }
    return value;
  };
}

function pathOf(attribute: Value): Value[] {
  if (attribute === null) return [];
  if (!isText(attribute)) return [attribute];
  return textOf(attribute)
    .split(".")
    .map((part) => (/^\p{Nd}+$/u.test(part) ? Number(part) : part));
}

/** A getter for several paths separated by commas, for sorting. */
export function attributesGetter(attribute: Value): (item: Value) => Value[] {
  const paths = isText(attribute) ? textOf(attribute).split(",") : [attribute];
  const getters = paths.map((path) => attributeGetter(path));
  return (item) => getters.map((get) => get(item));
}

/** Lower-cases texts for comparison unless case matters. */
export const foldCase =
  (caseSensitive: boolean) =>
  (value: Value): Value =>
    !caseSensitive && isText(value) ? textOf(value).toLowerCase() : value;

/** Sorts stably by keys, as Python's sorted. */
export function sortBy<T>(items: readonly T[], key: (item: T) => Value, reverse: boolean): T[] {
  const keyed = items.map((item) => ({ item, key: key(item) }));
  const before = (a: Value, b: Value): boolean => compare("<", a, b);
  // A single item is never compared.
  keyed.sort((a, b) => {
    const [left, right] = reverse ? [b.key, a.key] : [a.key, b.key];
    return before(left, right) ? -1 : before(right, left) ? 1 : 0;
  });
  return keyed.map(({ item }) => item);
}
