/** Sequence operations: iteration, length, truth, indexing and slicing. */

import { spend, spendCharacters } from "./budget.js";
import { typeFault, valueFault } from "./faults.js";
import { indexOf } from "./numbers.js";
import { hasSurrogates, lengthOf } from "./unicode.js";
import {
  Dict,
  Float,
  Iter,
  isHost,
  isList,
  isText,
  Markup,
  Range,
  Tuple,
  textOf,
  typeName,
  Undefined,
  type Value,
  View,
} from "./values.js";

/** The items of a value, one step each. @throws TypeError if it is not iterable. */
export function* iterate(value: Value): Generator<Value, void, undefined> {
  for (const item of itemsOf(value)) {
    spend();
    yield item;
  }
}

function itemsOf(value: Value): Iterable<Value> {
  if (isList(value) || value instanceof Iter) return value;
  if (isText(value)) return textOf(value);
  if (value instanceof Tuple) return value.items;
  if (value instanceof Dict) return viewItems(value, "keys");
  if (value instanceof View) return viewItems(value.dict, value.kind);
  if (value instanceof Range) return rangeItems(value);
  if (value instanceof Undefined) return [];
  return typeFault(`'${typeName(value)}' object is not iterable`);
}

export const isIterable = (value: Value): boolean =>
  isList(value) ||
  isText(value) ||
  [Iter, Tuple, Dict, View, Range, Undefined].some((type) => value instanceof type) ||
  (value !== null && isHost(value) && value.typeName === "LoopContext");

function* viewItems({ entries }: Dict, kind: View["kind"]): Generator<Value> {
  for (const [key, value] of entries.values()) {
    yield kind === "keys" ? key : kind === "values" ? value : new Tuple([key, value]);
  }
}

function* rangeItems({ start, step, length }: Range): Generator<Value> {
  for (let i = 0; i < length; i++) yield start + i * step;
}

export const listOf = (value: Value): readonly Value[] => [...iterate(value)];

/** The items in reverse. @throws TypeError if the value is not reversible. */
export function reversed(value: Value): readonly Value[] {
  if (value instanceof Iter || value === null || isHost(value)) {
    return typeFault(`'${typeName(value)}' object is not reversible`);
  }
  return [...iterate(value)].reverse();
}

/** len(value); null if it has none. */
export function sizeOf(value: Value): number | null {
  if (isList(value)) return value.length;
  if (isText(value)) return lengthOf(textOf(value));
  if (value instanceof Tuple) return value.items.length;
  if (value instanceof Dict) return value.entries.size;
  if (value instanceof View) return value.dict.entries.size;
  if (value instanceof Range) return value.length;
  return value instanceof Undefined ? 0 : null;
}

export function truth(value: Value): boolean {
  if (typeof value === "boolean") return value;
  if (value === null || value instanceof Undefined) return false;
  if (isText(value)) return textOf(value) !== "";
  if (value instanceof Float) return value.value !== 0;
  if (typeof value === "number" || typeof value === "bigint") return Number(value) !== 0;
  return sizeOf(value) !== 0;
}

/** The item at an index, counted from the end if negative; undefined if out of range or not a sequence. */
export function itemAt(value: Value, place: number): Value | undefined {
  if (isText(value)) {
    const item = characterAt(textOf(value), place);
    return value instanceof Markup && item !== undefined ? new Markup(item) : item;
  }
  if (value instanceof Range) {
    const at = place < 0 ? place + value.length : place;
    return at >= 0 && at < value.length ? value.start + at * value.step : undefined;
  }
  const items = isList(value) ? value : value instanceof Tuple ? value.items : [];
  return items[place < 0 ? place + items.length : place];
}

function characterAt(text: string, place: number): string | undefined {
  if (!hasSurrogates(text)) return text[place < 0 ? place + text.length : place];
  return Array.from(text).at(place);
}

/** The start, stop and step of a slice of a sequence of that length, as Python's slice.indices. */
function bounds(length: number, start: Value, stop: Value, step: Value): [number, number, number] {
  const by = step === null ? 1 : sliceIndex(step);
  if (by === 0) valueFault("slice step cannot be zero");
  const [low, high] = by < 0 ? [-1, length - 1] : [0, length];
  const clamp = (value: Value, otherwise: number): number => {
    if (value === null) return otherwise;
    const place = sliceIndex(value);
    return place < 0 ? Math.max(place + length, low) : Math.min(place, high);
  };
  return [clamp(start, by < 0 ? high : low), clamp(stop, by < 0 ? low : high), by];
}

function sliceIndex(value: Value): number {
  if (value instanceof Undefined) return typeFault("slice indices must be integers or None");
  return indexOf(value);
}

function pick<T>(
  items: ArrayLike<T> & { slice(begin: number, end: number): ArrayLike<T> },
  slice: [number, number, number],
): T[] {
  const [begin, end, by] = slice;
  const picked: T[] = [];
  for (let at = begin; by > 0 ? at < end : at > end; at += by) {
    spend();
    const item = items[at];
    if (item !== undefined) picked.push(item);
  }
  return picked;
}

/** value[start:stop:step]. @throws TypeError if the value cannot be sliced. */
export function slice(value: Value, start: Value, stop: Value, step: Value): Value {
  if (isText(value)) {
    const text = sliceText(textOf(value), start, stop, step);
    return value instanceof Markup ? new Markup(text) : text;
  }
  if (isList(value)) return sliceItems(value, start, stop, step);
  if (value instanceof Tuple) return new Tuple(sliceItems(value.items, start, stop, step));
  if (value instanceof Range) {
    const [begin, end, by] = bounds(value.length, start, stop, step);
    return new Range(value.start + begin * value.step, value.start + end * value.step, by * value.step);
  }
  if (value instanceof Undefined) value.fail();
  return typeFault(`'${typeName(value)}' object cannot be sliced`);
}

function sliceItems(items: readonly Value[], start: Value, stop: Value, step: Value): Value[] {
  const found = bounds(items.length, start, stop, step);
  if (found[2] !== 1) return pick(items, found);
  const part = items.slice(found[0], found[1]);
  spend(part.length);
  return part;
}

function sliceText(text: string, start: Value, stop: Value, step: Value): string {
  const points = hasSurrogates(text) ? Array.from(text) : text;
  const found = bounds(points.length, start, stop, step);
  if (found[2] === 1) {
    const part = points.slice(found[0], Math.max(found[0], found[1]));
    return typeof part === "string" ? part : part.join("");
  }
  spendCharacters(points.length);
  return pick<string>(points, found).join("");
}
