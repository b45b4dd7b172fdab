/**
 * Serializes JSON in pieces. Joined, they equal the output of `JSON.stringify`. A large response is never in memory twice, and
 * other requests run between the pieces.
 */
import { LazyList } from "../../base/lazy-list.js";

const pieceCharacters = 32_768;
/** The most weight that one `JSON.stringify` call takes: about one piece. */
const fewValues = 1024;
/** The deepest value that one call takes. */
const fewLevels = 64;
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

/** A value whose parts come next. */
class Nested {
  readonly value: unknown;

  constructor(value: unknown) {
    this.value = value;
  }
}

type Parts = Generator<string | Nested, void, undefined>;

/** Keeps its own stack, so a value may be as deep as memory allows. */
function* partsOf(root: unknown): Generator<string, void, undefined> {
  const open = [ownParts(root)];
  try {
    for (let parts = open.at(-1); parts; parts = open.at(-1)) {
      const { done, value } = parts.next();
      if (done) open.pop();
      else if (value instanceof Nested) open.push(ownParts(value.value));
      else yield value;
    }
  } finally {
    for (const parts of open.reverse()) parts.return();
  }
}

function ownParts(value: unknown): Parts {
  if (typeof value === "string") return stringParts(value);
  if (!isLarge(value)) return wholePart(value);
  return Array.isArray(value) || value instanceof LazyList ? listParts(value) : objectParts(value);
}

function* wholePart(value: unknown): Parts {
  yield JSON.stringify(value) ?? "null";
}

/** Whether `partsOf` can split the value. It cannot split an object with its own `toJSON`, except a lazy list. */
function isLarge(value: unknown): value is object {
  if (typeof value !== "object" || value === null) return false;
  if (value instanceof LazyList) return true;
  if ("toJSON" in value && typeof value.toJSON === "function") return false;
  return weigh(value, fewValues) > fewValues;
}

function* listParts(items: Iterable<unknown>): Parts {
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
      yield new Nested(item);
      before = ",";
    }
  }
  if (batch.length > 0) yield before + inner(batch);
  yield before === "[" && batch.length === 0 ? "[]" : "]";
}

/** A list's text without its brackets. */
const inner = (items: readonly unknown[]): string => JSON.stringify(items).slice(1, -1);

function* objectParts(object: object): Parts {
  let before = "{";
  for (const [key, value] of Object.entries(object)) {
    if (value === undefined || typeof value === "function" || typeof value === "symbol") continue;
    yield `${before}${JSON.stringify(key)}:`;
    yield new Nested(value);
    before = ",";
  }
  yield before === "{" ? "{}" : "}";
}

/** Slices that never split a surrogate pair. */
function* stringParts(text: string): Parts {
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

/** Weighs values, keys and long strings; stops once past the limit. Whatever is nested deeper than `levels` weighs too much. */
function weigh(value: unknown, limit: number, levels = fewLevels): number {
  if (typeof value === "string") return 1 + value.length / charactersPerValue;
  if (typeof value !== "object" || value === null) return 1;
  if (value instanceof LazyList || levels === 0) return Number.POSITIVE_INFINITY;
  let weight = 1;
  if (Array.isArray(value)) {
    for (const item of value) {
      weight += weigh(item, limit - weight, levels - 1);
      if (weight > limit) break;
    }
    return weight;
  }
  for (const [key, item] of Object.entries(value)) {
    weight += 1 + key.length / charactersPerValue + weigh(item, limit - weight, levels - 1);
    if (weight > limit) break;
  }
  return weight;
}
