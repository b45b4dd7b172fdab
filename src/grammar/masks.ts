/**
 * The tokens that may come next, computed for each state when a grammar is compiled.
 *
 * A state's mask has the tokens that stay within its rule and the rules that it calls: these are allowed for every caller. Other tokens run
 * past the end of the rule. Their bytes after the end are their tail, which only the caller can check. Tails are few and short: most tokens
 * that close a string are the quote and a byte or two.
 */
import { createHash } from "node:crypto";
import { assert } from "../base/errors.js";
import { at, int32At, uint8At, uint16At, uint32At } from "../base/list.js";
import { alikeStates } from "./alike.js";
import { GrammarFault } from "./fault.js";
import { followSets } from "./follow.js";
import { type Position, Positions } from "./positions.js";
import type { Program } from "./program.js";
import { type Spelling, type TokenBytes, type TokenTree, treeBytes, treeOf } from "./token-tree.js";

export interface Masks {
  /** By state: its mask, and its tails or -1. Both are -1 where no byte leads on. */
  readonly maskOf: Int32Array<ArrayBuffer>;
  readonly tailsOf: Int32Array<ArrayBuffer>;
  /** Mask m lies in `data` from `offsets[m]` up to `offsets[m + 1]`: one bit for each token, or the ids of few tokens. */
  readonly offsets: Int32Array<ArrayBuffer>;
  readonly data: Uint32Array<ArrayBuffer>;
  /** Tails with the tokens that they end. */
  readonly tails: readonly TokenTree[];
}

/** Properties of a vocabulary that do not depend on the grammar. */
export interface MaskVocabulary extends TokenBytes {
  readonly tree: TokenTree;
  /** By node of the tree: the length of the longest token there or below. */
  readonly longest: Uint16Array;
  /** The mask of the tokens of up to so many bytes. */
  upTo(bytes: number): Uint32Array;
}

export function maskVocabulary(tokens: TokenBytes, tree: TokenTree): MaskVocabulary {
  const known = new Map<number, Uint32Array>();
  const upTo = (bytes: number): Uint32Array => {
    const mask = known.get(bytes) ?? new Uint32Array(maskWords(tokens));
    if (known.has(bytes)) return mask;
    known.set(bytes, mask);
    for (const id of tree.tokens) if (lengthOf(tokens, id) <= bytes) setBit(mask, id);
    return mask;
  };
  return { ...tokens, tree, longest: longestBelow(tree), upTo };
}

/** Words of a mask with one bit for each token: bit id % 32 of word id / 32. A mask of fewer words is a list of ids. */
export const maskWords = ({ offsets }: TokenBytes): number => (offsets.length + 30) >> 5;

export const masksBytes = ({ maskOf, tailsOf, offsets, data, tails }: Masks): number =>
  [maskOf, tailsOf, offsets, data].reduce((sum, { byteLength }) => sum + byteLength, 0) +
  tails.reduce((sum, tree) => sum + treeBytes(tree), 0);

/** Throws GrammarFault if masks and tails take more than `maxBytes`. */
export function masksOf(program: Program, vocabulary: MaskVocabulary, maxBytes: number): Masks {
  return new MaskBuilder(program, vocabulary, maxBytes).build();
}

class MaskBuilder {
  readonly #program: Program;
  readonly #vocabulary: MaskVocabulary;
  readonly #maxBytes: number;
  readonly #positions: Positions;
  readonly #follow: readonly Uint8Array[];
  readonly #path: Position[] = [];
  /** Of the state that is looked at: its mask, and pairs of a token that ends past the rule and the length before its tail. */
  readonly #mask: Uint32Array<ArrayBuffer>;
  #ends: number[] = [];
  readonly #masks = new Map<string, number>();
  readonly #lists: Uint32Array[] = [];
  readonly #knownTails = new Map<string, number>();
  readonly #tails: TokenTree[] = [];
  readonly #endsOfTails: Int32Array[] = [];
  #bytes = 0;

  constructor(program: Program, vocabulary: MaskVocabulary, maxBytes: number) {
    this.#program = program;
    this.#vocabulary = vocabulary;
    this.#maxBytes = maxBytes;
    this.#positions = new Positions(program);
    this.#follow = followSets(program);
    this.#mask = new Uint32Array(maskWords(vocabulary));
  }

  build(): Masks {
    const { accepts } = this.#program;
    const kinds = this.#follow.map((follow) => follow.join(""));
    const longest = this.#vocabulary.longest.reduce((most, each) => Math.max(most, each), 0);
    const { groupOf, kin } = alikeStates(this.#program, longest, (rule) => at(kinds, rule));
    const maskOfGroup = new Int32Array(kin.length).fill(-1);
    const tailsOfGroup = new Int32Array(kin.length).fill(-1);
    for (const { group, state, rule } of this.#firstStates(groupOf, kin.length)) {
      const { group: other, bytes } = at(kin, group);
      this.#begin(int32At(maskOfGroup, other), int32At(tailsOfGroup, other), bytes);
      this.#walk(state, at(this.#follow, rule), bytes);
      maskOfGroup[group] = this.#addMask();
      tailsOfGroup[group] = this.#addTails();
    }
    return {
      maskOf: Int32Array.from(accepts, (_, state) => int32At(maskOfGroup, int32At(groupOf, state))),
      tailsOf: Int32Array.from(accepts, (_, state) => int32At(tailsOfGroup, int32At(groupOf, state))),
      ...this.#tables(),
      tails: this.#tails,
    };
  }

  /** The first state of each group from which a byte leads on, by group: a group comes after its kin. */
  #firstStates(groupOf: Int32Array, groups: number): readonly { group: number; state: number; rule: number }[] {
    const { starts, rulesFrom } = this.#program;
    const first = new Array<{ group: number; state: number; rule: number } | undefined>(groups).fill(undefined);
    for (let rule = 0; rule < starts.length; rule++) {
      for (let state = int32At(rulesFrom, rule); state < int32At(rulesFrom, rule + 1); state++) {
        const group = int32At(groupOf, state);
        if (this.#positions.hasBytes(state)) first[group] ??= { group, state, rule };
      }
    }
    return first.filter((each) => each !== undefined);
  }

  /** Starts with another group's tokens of up to `known` bytes. */
  #begin(mask: number, tails: number, bytes: number): void {
    this.#mask.fill(0);
    this.#ends = [];
    if (bytes === 0 || mask < 0) return;
    setBits(this.#mask, at(this.#lists, mask));
    keepBits(this.#mask, this.#vocabulary.upTo(bytes));
    const ends = this.#endsOfTails[tails] ?? new Int32Array();
    for (let i = 0; i < ends.length; i += 2) {
      const id = int32At(ends, i);
      if (lengthOf(this.#vocabulary, id) <= bytes) this.#ends.push(id, int32At(ends, i + 1));
    }
  }

  /** Tries the tokens of more than `known` bytes, without a caller. A branch of the tree is left where the grammar cannot continue. */
  #walk(state: number, follow: Uint8Array, known: number): void {
    const { byte, depth, after, tokensFrom, tokens } = this.#vocabulary.tree;
    const { classes } = this.#program;
    const { longest } = this.#vocabulary;
    const [path, mask, positions] = [this.#path, this.#mask, this.#positions];
    const follows = follow.includes(1);
    const ends: number[] = [];
    if (positions.bytes > this.#maxBytes) positions.forget();
    path[0] = positions.at(state, null);
    for (let node = 0; node < byte.length; ) {
      if (uint16At(longest, node) <= known) {
        node = int32At(after, node);
        continue;
      }
      const level = uint16At(depth, node);
      const from = path[level - 1];
      assert(from, "a node comes after its parent");
      const symbol = uint8At(classes, uint8At(byte, node));
      const reached = from.next[symbol];
      const next = reached === undefined ? positions.step(from, symbol) : reached;
      if (next === null) {
        node = int32At(after, node);
        continue;
      }
      path[level] = next;
      const last = int32At(tokensFrom, node + 1);
      for (let i = int32At(tokensFrom, node); i < last; i++) setBit(mask, int32At(tokens, i));
      if (follows && next.accepts) ends.push(node);
      node++;
    }
    for (const node of ends) this.#addEnds(node, follow, known);
  }

  /** Records the tokens below a node where the rule has ended. They are not in the mask. */
  #addEnds(node: number, follow: Uint8Array, known: number): void {
    const { byte, depth, after, tokensFrom, tokens } = this.#vocabulary.tree;
    const length = uint16At(depth, node);
    for (let child = node + 1; child < int32At(after, node); child = int32At(after, child)) {
      if (follow[uint8At(this.#program.classes, uint8At(byte, child))] !== 1) continue;
      const last = int32At(tokensFrom, int32At(after, child));
      for (let i = int32At(tokensFrom, child); i < last; i++) {
        const id = int32At(tokens, i);
        if (lengthOf(this.#vocabulary, id) <= known || ((uint32At(this.#mask, id >>> 5) >>> (id & 31)) & 1) === 1)
          continue;
        this.#ends.push(id, length);
      }
    }
    this.#spend(0, 8 * this.#ends.length);
  }

  #addMask(): number {
    const mask = this.#mask;
    let count = 0;
    for (let i = 0; i < mask.length; i++) count += ones(uint32At(mask, i));
    const table = count >= mask.length ? mask.slice() : idsOf(mask, count);
    return this.#add(this.#masks, table, () => {
      this.#spend(table.byteLength);
      return this.#lists.push(table) - 1;
    });
  }

  #addTails(): number {
    if (this.#ends.length === 0) return -1;
    const ends = Int32Array.from(this.#ends);
    return this.#add(this.#knownTails, ends, () => {
      const { offsets, bytes } = this.#vocabulary;
      const spellings = Array.from({ length: ends.length / 2 }, (_, i): Spelling => {
        const [id, length] = [int32At(ends, 2 * i), int32At(ends, 2 * i + 1)];
        return { id, bytes: bytes.subarray(int32At(offsets, id) + length, int32At(offsets, id + 1)) };
      });
      const tails = treeOf(spellings);
      this.#spend(treeBytes(tails));
      this.#endsOfTails.push(ends);
      return this.#tails.push(tails) - 1;
    });
  }

  /** Stores equal tables once. */
  #add(known: Map<string, number>, table: Uint32Array | Int32Array, keep: () => number): number {
    const key = createHash("sha256").update(table).digest("base64");
    const index = known.get(key) ?? keep();
    known.set(key, index);
    return index;
  }

  #spend(bytes: number, passing = 0): void {
    this.#bytes += bytes;
    if (this.#bytes + passing <= this.#maxBytes) return;
    const allowed = Math.floor(this.#maxBytes / 2 ** 20);
    throw new GrammarFault(
      `is too large: its masks take more than ${allowed} MiB (a quarter of --grammar-cache-bytes)`,
    );
  }

  #tables(): Pick<Masks, "offsets" | "data"> {
    const offsets = new Int32Array(this.#lists.length + 1);
    for (const [index, list] of this.#lists.entries()) offsets[index + 1] = int32At(offsets, index) + list.length;
    const data = new Uint32Array(int32At(offsets, this.#lists.length));
    for (const [index, list] of this.#lists.entries()) data.set(list, int32At(offsets, index));
    return { offsets, data };
  }
}

function longestBelow({ depth, after, tokensFrom }: TokenTree): Uint16Array {
  const longest = new Uint16Array(depth.length);
  for (let node = depth.length - 1; node >= 0; node--) {
    let most = tokensFrom[node] === tokensFrom[node + 1] ? 0 : uint16At(depth, node);
    for (let child = node + 1; child < int32At(after, node); child = int32At(after, child)) {
      most = Math.max(most, uint16At(longest, child));
    }
    longest[node] = most;
  }
  return longest;
}

/** Sets the bits of a mask that is kept as bits or as ids. */
export function setBits(mask: Uint32Array, table: Uint32Array): void {
  if (table.length === mask.length) {
    for (let i = 0; i < mask.length; i++) mask[i] = uint32At(mask, i) | uint32At(table, i);
  } else {
    for (let i = 0; i < table.length; i++) setBit(mask, uint32At(table, i));
  }
}

export function setBit(mask: Uint32Array, id: number): void {
  mask[id >>> 5] = uint32At(mask, id >>> 5) | (1 << (id & 31));
}

export function clearBit(mask: Uint32Array, id: number): void {
  mask[id >>> 5] = uint32At(mask, id >>> 5) & ~(1 << (id & 31));
}

function keepBits(mask: Uint32Array, kept: Uint32Array): void {
  for (let i = 0; i < mask.length; i++) mask[i] = uint32At(mask, i) & uint32At(kept, i);
}

const lengthOf = ({ offsets }: TokenBytes, id: number): number => int32At(offsets, id + 1) - int32At(offsets, id);

function idsOf(mask: Uint32Array, count: number): Uint32Array {
  const ids = new Uint32Array(count);
  let next = 0;
  for (let i = 0; next < count; i++) {
    for (let word = uint32At(mask, i); word !== 0; word &= word - 1)
      ids[next++] = 32 * i + 31 - Math.clz32(word & -word);
  }
  return ids;
}

/** Bits that are set in a word. */
function ones(word: number): number {
  const pairs = word - ((word >>> 1) & 0x55555555);
  const fours = (pairs & 0x33333333) + ((pairs >>> 2) & 0x33333333);
  return Math.imul((fours + (fours >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}
