/**
 * Serializes JSON in pieces. Joined, they equal the output of `JSON.stringify`. A large response is never in memory twice, and
 * other requests run between the pieces.
 */
import { LazyList } from "../../base/lazy-list.js";

const pieceCharacters = 32_768;
/** The most weight that one `JSON.stringify` call takes: about one piece. */
const fewValues = 1024;
/** This many characters weigh as much as one value. */
const charactersPerValue = 32;

/** Pieces of about 32 KiB, at least one. */
export function* jsonPieces(value: unknown): Generator<string, void, undefined> {
  let text = "";
  for (const part of partsOf(value)) {
    text += part;
    if (text.length < pieceCharacters) continue;
    yield text;
    text = "";
  }
  if (text !== "") yield text;
}

function* partsOf(value: unknown): Generator<string, void, undefined> {
  if (typeof value === "string") yield* stringParts(value);
  else if (!isLarge(value)) yield JSON.stringify(value) ?? "null";
  else if (Array.isArray(value) || value instanceof LazyList) yield* listParts(value);
  else yield* objectParts(value);
}

/** Whether `partsOf` can split the value. It cannot split an object with its own `toJSON`, except a lazy list. */
function isLarge(value: unknown): value is object {
  if (typeof value !== "object" || value === null) return false;
  if (value instanceof LazyList) return true;
  if ("toJSON" in value && typeof value.toJSON === "function") return false;
  return weigh(value, fewValues) > fewValues;
}

function* listParts(items: Iterable<unknown>): Generator<string, void, undefined> {
  let before = "[";
  let batch: unknown[] = [];
  let weight = 0;
  for (const item of items) {
    const own = weigh(item, fewValues);
    if (batch.length > 0 && weight + own > fewValues) {
      yield before + inner(batch);
      before = ",";
      batch = [];
      weight = 0;
    }
    if (own <= fewValues) {
      batch.push(item);
      weight += own;
    } else {
      yield before;
      yield* partsOf(item);
      before = ",";
    }
  }
  if (batch.length > 0) yield before + inner(batch);
  yield before === "[" && batch.length === 0 ? "[]" : "]";
}

/** A list's text without its brackets. */
const inner = (items: readonly unknown[]): string => JSON.stringify(items).slice(1, -1);

function* objectParts(object: object): Generator<string, void, undefined> {
  let before = "{";
  for (const [key, value] of Object.entries(object)) {
    if (value === undefined || typeof value === "function" || typeof value === "symbol") continue;
    yield `${before}${JSON.stringify(key)}:`;
    yield* partsOf(value);
    before = ",";
  }
  yield before === "{" ? "{}" : "}";
}

/** Slices that never split a surrogate pair. */
function* stringParts(text: string): Generator<string, void, undefined> {
  if (text.length <= pieceCharacters) {
    yield JSON.stringify(text);
    return;
  }
  yield '"';
  for (let start = 0; start < text.length; ) {
    let end = Math.min(text.length, start + pieceCharacters);
    if (end < text.length && isHighSurrogate(text.charCodeAt(end - 1))) end++;
    yield JSON.stringify(text.slice(start, end)).slice(1, -1);
    start = end;
  }
  yield '"';
}

const isHighSurrogate = (unit: number): boolean => unit >= 0xd800 && unit <= 0xdbff;

/** Weighs values, keys and long strings; stops once past the limit. */
function weigh(value: unknown, limit: number): number {
  if (typeof value === "string") return 1 + value.length / charactersPerValue;
  if (typeof value !== "object" || value === null) return 1;
  if (value instanceof LazyList) return Number.POSITIVE_INFINITY;
  let weight = 1;
  if (Array.isArray(value)) {
    for (const item of value) {
      weight += weigh(item, limit - weight);
      if (weight > limit) break;
    }
    return weight;
  }
  for (const [key, item] of Object.entries(value)) {
    weight += 1 + key.length / charactersPerValue + weigh(item, limit - weight);
    if (weight > limit) break;
  }
  return weight;
}
