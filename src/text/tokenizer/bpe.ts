/**
 * Byte-pair encoding (Sennrich et al., 2016) of words to ids, with the merges of a tokenizer.json, as the Rust library computes it.
 * Uses the model's vocabulary only: an added token is never part of a word.
 */

import { LorikeetError } from "../../base/errors.js";
import { isObject, type Json } from "../../base/json.js";
import { float64At, int32At, numberAt } from "../../base/list.js";
import { codePointAt } from "../characters.js";
import { asString } from "../json.js";
import { WordCache } from "./word-cache.js";
import type { WordModel, WordToken } from "./word-model.js";

/** The longest word to cache, in UTF-16 code units. */
const longestCachedWord = 256;
/** Longer words are cut where no merge can cross. */
const longestUncutWord = 16;
/** The bound on positions in a word, so that a rank and a position fit exactly into one number. */
const positions = 2 ** 27;

const invalid = (fault: string): LorikeetError =>
  new LorikeetError("model_invalid", `The tokenizer cannot be used: ${fault}.`, { param: "tokenizer.json" });

export class Bpe implements WordModel {
  readonly #vocab = new Map<string, number>();
  readonly #merges: Merges;
  /** Adjacent characters inside any merged token; null if words cannot be cut. */
  readonly #joined: ReadonlySet<number> | null;
  readonly #unkId: number | null;
  readonly #fuseUnk: boolean;
  readonly #byteIds: readonly (number | undefined)[] | null;
  readonly #prefix: string;
  readonly #suffix: string;
  readonly #ignoreMerges: boolean;
  readonly #cache = new WordCache();
  readonly #scratch = new Scratch();

  /**
   * `model` is the model of a tokenizer.json, with a validated vocabulary.
   * @throws LorikeetError `model_invalid` for merges with tokens that the vocabulary lacks.
   */
  constructor(model: Json) {
    if (typeof model.dropout === "number" && model.dropout > 0)
      throw new LorikeetError(
        "model_unsupported",
        `tokenizer.json has a BPE dropout of ${model.dropout}, which makes encoding random and is not supported.`,
        { param: "tokenizer.json", found: model.dropout, allowed: 0 },
      );
    for (const [token, id] of Object.entries(isObject(model.vocab) ? model.vocab : {}))
      if (typeof id === "number") this.#vocab.set(token, id);
    this.#prefix = asString(model.continuing_subword_prefix) ?? "";
    this.#suffix = asString(model.end_of_word_suffix) ?? "";
    const unk = asString(model.unk_token);
    this.#unkId = unk === null ? null : (this.#vocab.get(unk) ?? null);
    this.#fuseUnk = model.fuse_unk === true;
    this.#ignoreMerges = model.ignore_merges === true;
    this.#byteIds = model.byte_fallback === true ? byteTokens(this.#vocab) : null;
    const pairs = readMerges(model.merges);
    this.#merges = this.#index(pairs);
    this.#joined = this.#prefix === "" && this.#suffix === "" ? joinedCharacters(pairs) : null;
  }

  /** The ids of one word from the pre-tokenizer, or of a whole text without one. */
  encode(word: string): readonly number[] {
    if (this.#ignoreMerges) {
      const id = this.#vocab.get(word);
      if (id !== undefined) return [id];
    }
    if (this.#joined === null || word.length <= longestUncutWord) return this.#encodePart(word);
    const ids: number[] = [];
    for (const part of this.#cut(word, this.#joined)) for (const id of this.#encodePart(part)) ids.push(id);
    return ids;
  }

  /** The tokens of a word with their places in it. */
  encodeTokens(word: string): WordToken[] {
    const whole = this.#ignoreMerges ? this.#vocab.get(word) : undefined;
    if (whole !== undefined) return [{ id: whole, begin: 0, end: word.length }];
    const symbols: WordToken[] = [];
    const ids = this.#symbols(word, symbols);
    this.#mergeInPlace(ids);
    const tokens: WordToken[] = [];
    for (const [i, { begin, end }] of symbols.entries()) {
      const id = numberAt(ids, i);
      const last = tokens.at(-1);
      if (id >= 0) tokens.push({ id, begin, end });
      else if (last) tokens[tokens.length - 1] = { ...last, end };
    }
    return tokens;
  }

  /**
   * Cuts a word between two known characters that are adjacent in no merged token. No merge crosses such a cut, so the parts' ids
   * are the word's. Without a pre-tokenizer this avoids one long word.
   */
  *#cut(word: string, joined: ReadonlySet<number>): Iterable<string> {
    let begin = 0;
    let left = -1;
    let leftIsKnown = false;
    for (let i = 0; i < word.length; ) {
      const character = codePointAt(word, i);
      const size = character > 0xffff ? 2 : 1;
      const isKnown = this.#vocab.has(size === 1 ? word.charAt(i) : word.slice(i, i + 2));
      if (leftIsKnown && isKnown && !joined.has(pairKey(left, character))) {
        yield word.slice(begin, i);
        begin = i;
      }
      left = character;
      leftIsKnown = isKnown;
      i += size;
    }
    if (begin < word.length) yield word.slice(begin);
  }

  #encodePart(word: string): readonly number[] {
    if (word.length > longestCachedWord) return this.#merge(this.#symbols(word));
    let ids = this.#cache.get(word);
    if (!ids) {
      ids = this.#merge(this.#symbols(word));
      this.#cache.set(word, ids);
    }
    return ids;
  }

  /**
   * The ids of a word's characters; unknown ones become byte tokens if the model has them, else the unknown token. Lists the same
   * with their places in `tokens`, where it is given.
   */
  #symbols(word: string, tokens?: WordToken[]): number[] {
    const ids: number[] = [];
    const push = (id: number, begin: number, end: number): void => {
      ids.push(id);
      tokens?.push({ id, begin, end });
    };
    let unknownFrom = -1;
    const flush = (end: number): void => {
      if (unknownFrom >= 0 && this.#unkId !== null) push(this.#unkId, unknownFrom, end);
      unknownFrom = -1;
    };
    for (let i = 0; i < word.length; ) {
      const begin = i;
      const size = codePointAt(word, i) > 0xffff ? 2 : 1;
      const character = word.slice(i, i + size);
      i += size;
      const spelled = (begin === 0 ? "" : this.#prefix) + character + (i === word.length ? this.#suffix : "");
      const id = this.#vocab.get(spelled);
      if (id !== undefined) {
        flush(begin);
        push(id, begin, i);
        continue;
      }
      const bytes = this.#bytesOf(spelled);
      if (bytes) {
        for (const byte of bytes) push(byte, begin, i);
        continue;
      }
      if (unknownFrom >= 0 && !this.#fuseUnk) flush(begin);
      if (unknownFrom < 0) unknownFrom = begin;
    }
    flush(word.length);
    return ids;
  }

  #bytesOf(character: string): number[] | null {
    if (!this.#byteIds) return null;
    const ids: number[] = [];
    for (const byte of utf8.encode(character)) {
      const id = this.#byteIds[byte];
      if (id === undefined) return null;
      ids.push(id);
    }
    return ids;
  }

  #merge(ids: number[]): readonly number[] {
    this.#mergeInPlace(ids);
    return ids.filter((id) => id >= 0);
  }

  /**
   * Merges the pair of lowest rank, the leftmost in a tie, until no adjacent pair has a rank. A merged token is where its first part
   * was; -1 is where its other parts were.
   */
  #mergeInPlace(ids: number[]): void {
    if (ids.length < 2) return;
    const merges = this.#merges;
    const { next, previous, heap } = this.#scratch.reset(ids.length);
    const offer = (left: number, right: number): void => {
      const rank = merges.rankOf(numberAt(ids, left), numberAt(ids, right));
      if (rank >= 0) heap.push(rank * positions + left);
    };
    for (let i = 0; i + 1 < ids.length; i++) offer(i, i + 1);
    while (heap.size > 0) {
      const lowest = heap.pop();
      const left = lowest % positions;
      const right = int32At(next, left);
      const leftId = numberAt(ids, left);
      if (leftId < 0 || right < 0) continue;
      const merged = merges.idOf((lowest - left) / positions);
      // The pair may have changed since it was queued.
      const rank = merges.rankOf(leftId, numberAt(ids, right));
      if (rank < 0 || merges.idOf(rank) !== merged) continue;
      ids[left] = merged;
      ids[right] = -1;
      const after = int32At(next, right);
      next[left] = after;
      if (after >= 0) {
        previous[after] = left;
        offer(left, after);
      }
      const before = int32At(previous, left);
      if (before >= 0) offer(before, left);
    }
  }

  #index(pairs: readonly (readonly [string, string])[]): Merges {
    const merges = new Merges(pairs.length);
    for (const [rank, [left, right]] of pairs.entries()) {
      const joined = left + right.slice(this.#prefix.length);
      const ids = [left, right, joined].map((token) => this.#vocab.get(token));
      const [leftId, rightId, joinedId] = ids;
      if (leftId === undefined || rightId === undefined || joinedId === undefined) {
        const missing = [left, right, joined][ids.indexOf(undefined)];
        throw invalid(`merge ${rank} needs the token ${JSON.stringify(missing)}, which the vocabulary lacks`);
      }
      merges.set(leftId, rightId, rank, joinedId);
    }
    return merges;
  }
}

const utf8 = new TextEncoder();

function byteTokens(vocab: ReadonlyMap<string, number>): (number | undefined)[] {
  return Array.from({ length: 256 }, (_, byte) => vocab.get(`<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`));
}

/** Merges are `"a b"` or `["a", "b"]`. */
function readMerges(merges: unknown): (readonly [string, string])[] {
  if (!Array.isArray(merges)) throw invalid("its model lacks a list of merges");
  return merges.map((merge, rank) => {
    const parts: unknown[] = typeof merge === "string" ? merge.split(" ") : Array.isArray(merge) ? merge : [];
    const [left, right] = parts;
    if (parts.length === 2 && typeof left === "string" && typeof right === "string") return [left, right];
    throw invalid(`merge ${rank} must be two tokens, but is ${JSON.stringify(merge)?.slice(0, 80)}`);
  });
}

const pairKey = (left: number, right: number): number => left * 2 ** 21 + right;

function joinedCharacters(pairs: readonly (readonly [string, string])[]): Set<number> {
  const joined = new Set<number>();
  for (const [left, right] of pairs) {
    let before = -1;
    for (const character of left + right) {
      const code = codePointAt(character);
      if (before >= 0) joined.add(pairKey(before, code));
      before = code;
    }
  }
  return joined;
}

/** The rank and merged token of each pair of ids: a hash table with open addressing, several times cheaper than a Map. */
class Merges {
  readonly #mask: number;
  readonly #left: Int32Array;
  readonly #right: Int32Array;
  readonly #rank: Int32Array;
  readonly #merged: Int32Array;

  constructor(count: number) {
    const size = 2 ** Math.ceil(Math.log2(Math.max(2 * count, 2)));
    this.#mask = size - 1;
    this.#left = new Int32Array(size).fill(-1);
    this.#right = new Int32Array(size);
    this.#rank = new Int32Array(size);
    this.#merged = new Int32Array(count);
  }

  /** A duplicate pair keeps its later rank, as in the Rust library. */
  set(left: number, right: number, rank: number, merged: number): void {
    const at = this.#find(left, right);
    this.#left[at] = left;
    this.#right[at] = right;
    this.#rank[at] = rank;
    this.#merged[rank] = merged;
  }

  /** -1 if the pair has none. */
  rankOf(left: number, right: number): number {
    const at = this.#find(left, right);
    return this.#left[at] === -1 ? -1 : int32At(this.#rank, at);
  }

  idOf(rank: number): number {
    return int32At(this.#merged, rank);
  }

  #find(left: number, right: number): number {
    const mixed = Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0x85ebca6b);
    let at = (mixed ^ (mixed >>> 15)) & this.#mask;
    while (this.#left[at] !== -1 && (this.#left[at] !== left || this.#right[at] !== right)) at = (at + 1) & this.#mask;
    return at;
  }
}

/** A min-heap of numbers. */
class Heap {
  #items = new Float64Array(64);
  size = 0;

  push(item: number): void {
    if (this.size === this.#items.length) {
      const grown = new Float64Array(2 * this.size);
      grown.set(this.#items);
      this.#items = grown;
    }
    const items = this.#items;
    let at = this.size++;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = float64At(items, parent);
      if (above <= item) break;
      items[at] = above;
      at = parent;
    }
    items[at] = item;
  }

  /** Call only while `size` is above zero. */
  pop(): number {
    const items = this.#items;
    const least = float64At(items, 0);
    const last = float64At(items, --this.size);
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= this.size) break;
      if (child + 1 < this.size && float64At(items, child + 1) < float64At(items, child)) child++;
      const below = float64At(items, child);
      if (below >= last) break;
      items[at] = below;
      at = child;
    }
    items[at] = last;
    return least;
  }
}

/** The neighbours and the heap of one word, reused for the next. */
class Scratch {
  next = new Int32Array(64);
  previous = new Int32Array(64);
  readonly heap = new Heap();

  reset(length: number): this {
    if (this.next.length < length) {
      this.next = new Int32Array(2 * length);
      this.previous = new Int32Array(2 * length);
    }
    for (let i = 0; i < length; i++) {
      this.next[i] = i + 1;
      this.previous[i] = i - 1;
    }
    this.next[length - 1] = -1;
    this.heap.size = 0;
    return this;
  }
}
