/**
 * Reads of lists and maps that must succeed: each throws an `internal` error if an index, a length, a count or a key is not what the
 * caller relies on.
 */

import { assert } from "./errors.js";

/** An item of such a list: anything but undefined, which stands for a missing item. */
type Item = NonNullable<unknown> | null;

/** The item at an index. Throws if there is none. */
export function at<T extends Item>(list: ArrayLike<T>, index: number): T {
  const item = list[index];
  if (item === undefined) missing(list, index);
  return item;
}

/** The last item. Throws if the list is empty. */
export function last<T extends Item>(list: ArrayLike<T>): T {
  return at(list, list.length - 1);
}

/** The item of a list of exactly one. Throws otherwise. */
export function only<T extends Item>(list: ArrayLike<T>): T {
  assert(list.length === 1, `one item was expected in a list of ${list.length}`);
  return at(list, 0);
}

/** The value of a key. Throws if the map lacks it. */
export function valueAt<K, V extends Item>(map: ReadonlyMap<K, V>, key: K): V {
  const value = map.get(key);
  if (value === undefined) assert(false, `no value of the key ${String(key)} in a map of ${map.size}`);
  return value;
}

/** Pairs of the items at the same index. Throws if the lists differ in length. */
export function zip<A extends Item, B extends Item>(a: ArrayLike<A>, b: ArrayLike<B>): [A, B][] {
  assert(a.length === b.length, `lists of ${a.length} and ${b.length} items cannot be zipped`);
  return Array.from({ length: a.length }, (_, index) => [at(a, index), at(b, index)]);
}

/**
 * `at` for inner loops. A function per type stays monomorphic, so it is inlined and costs no more than the bare
 * read.
 */
export function float32At(list: Float32Array, index: number): number {
  const item = list[index];
  if (item === undefined) missing(list, index);
  return item;
}

export function numberAt(list: readonly number[], index: number): number {
  const item = list[index];
  if (item === undefined) missing(list, index);
  return item;
}

export function float64At(list: Float64Array, index: number): number {
  const item = list[index];
  if (item === undefined) missing(list, index);
  return item;
}

export function int32At(list: Int32Array, index: number): number {
  const item = list[index];
  if (item === undefined) missing(list, index);
  return item;
}

export function uint8At(list: Uint8Array, index: number): number {
  const item = list[index];
  if (item === undefined) missing(list, index);
  return item;
}

export function uint16At(list: Uint16Array, index: number): number {
  const item = list[index];
  if (item === undefined) missing(list, index);
  return item;
}

export function uint32At(list: Uint32Array, index: number): number {
  const item = list[index];
  if (item === undefined) missing(list, index);
  return item;
}

function missing(list: ArrayLike<unknown>, index: number): never {
  assert(false, `no item at index ${index} of a list of ${list.length}`);
}
