/**
 * A compiled grammar at work: where a text can stand in it, and which tokens may come next.
 *
 * A place is a set of stacks: a state of a rule, and the states to return to. Places are made as texts reach them and kept with
 * the bytes that lead on and with their masks, for all sequences of the grammar. What is kept is bounded; past the bound all is
 * forgotten and made again.
 */
import { assert } from "../base/errors.js";
import { at, int32At, uint32At } from "../base/list.js";
import type { Program } from "./program.js";
import type { TokenBytes, TokenTree } from "./vocabulary.js";

/** Stacks of a place beyond these are dropped: each can be completed, so those that are left allow less, and nothing wrong. */
const maxStacks = 64;
/** Calls and returns that are followed for one place; depth first, so that some stack is always found. */
const maxFollowed = 4096;
/**
 * Steps of one mask for places that are new. A grammar of many places beyond these goes on by single bytes: a client's grammar
 * keeps the others waiting no longer than that.
 */
const maxWork = 100_000;

/** Where a call returns to. Equal stacks are one object. */
interface Frame {
  readonly id: number;
  readonly state: number;
  readonly parent: Frame | null;
}

interface Stack {
  readonly state: number;
  readonly frame: Frame | null;
  readonly key: number;
}

class Place {
  readonly stacks: readonly Stack[];
  /** The text may end here. */
  readonly accepts: boolean;
  /** The place after a byte of each class; null where none may come, undefined until it was asked for. */
  readonly next: (Place | null | undefined)[];
  mask: Uint32Array | null = null;

  constructor(stacks: readonly Stack[], accepts: boolean, width: number) {
    this.stacks = stacks;
    this.accepts = accepts;
    this.next = new Array<Place | null | undefined>(width).fill(undefined);
  }
}

export interface GrammarVocabulary extends TokenBytes {
  readonly tree: TokenTree;
}

export interface GrammarBounds {
  /** Bytes of places and masks that one grammar keeps. */
  readonly maxKeptBytes: number;
}

export class Grammar {
  readonly #program: Program;
  readonly #vocabulary: GrammarVocabulary;
  readonly #bounds: GrammarBounds;
  /** For each state: whether a byte leads on, and whether nothing does and the rule ends. */
  readonly #hasBytes: Uint8Array;
  readonly #isLast: Uint8Array;
  readonly #walked: Place[] = [];
  #work = 0;
  #frames = new Map<number, Frame>();
  #places = new Map<string, Place>();
  #frameCount = 0;
  #keptBytes = 0;

  constructor(program: Program, vocabulary: GrammarVocabulary, bounds: GrammarBounds) {
    this.#program = program;
    this.#vocabulary = vocabulary;
    this.#bounds = bounds;
    const { accepts, next, width, callsFrom } = program;
    this.#hasBytes = accepts.map((_, state) =>
      next.subarray(state * width, (state + 1) * width).some((target) => target >= 0) ? 1 : 0,
    );
    this.#isLast = accepts.map((accepting, state) =>
      accepting === 1 && this.#hasBytes[state] === 0 && callsFrom[state] === callsFrom[state + 1] ? 1 : 0,
    );
  }

  get keptBytes(): number {
    return this.#keptBytes;
  }

  begin(): GrammarMatcher {
    return new GrammarMatcher(this, this.#start());
  }

  /** The tokens that may come at the place: bit id % 32 of word id / 32. */
  maskOf(place: Place): Uint32Array {
    place.mask ??= this.#walk(place);
    return place.mask;
  }

  /** The place after the token's bytes. */
  after(place: Place, id: number): Place {
    const { bytes, offsets } = this.#vocabulary;
    this.#forgetPastBound();
    let current = place;
    for (let i = int32At(offsets, id); i < int32At(offsets, id + 1); i++) {
      const next = this.#step(current, at(this.#program.classes, at(bytes, i)));
      assert(next, `token ${id} came where the grammar does not allow it`);
      current = next;
    }
    return current;
  }

  #start(): Place {
    const { starts } = this.#program;
    const place = this.#placeOf([[int32At(starts, 0), null]]);
    assert(place, "a program allows some text");
    return place;
  }

  /** Every token is tried by its bytes; a branch of the tree ends where no text of the grammar goes on. */
  #walk(place: Place): Uint32Array {
    const { byte, depth, after, tokensFrom, tokens } = this.#vocabulary.tree;
    const { classes } = this.#program;
    const mask = new Uint32Array((this.#vocabulary.offsets.length + 30) >> 5);
    this.#keptBytes += mask.byteLength;
    const path = this.#walked;
    path[0] = place;
    this.#work = 0;
    for (let node = 0; node < byte.length; ) {
      const level = at(depth, node);
      const from = at(path, level - 1);
      const symbol = at(classes, at(byte, node));
      const known = from.next[symbol];
      const isPassed = known === undefined && level > 1 && this.#work > maxWork;
      const next = known === undefined && !isPassed ? this.#step(from, symbol) : (known ?? null);
      if (next === null) {
        node = int32At(after, node);
        continue;
      }
      path[level] = next;
      for (let i = int32At(tokensFrom, node); i < int32At(tokensFrom, node + 1); i++) {
        const id = int32At(tokens, i);
        mask[id >>> 5] = uint32At(mask, id >>> 5) | (1 << (id & 31));
      }
      node++;
    }
    return mask;
  }

  #step(place: Place, symbol: number): Place | null {
    const known = place.next[symbol];
    if (known !== undefined) return known;
    const { next, width } = this.#program;
    const reached: [number, Frame | null][] = [];
    for (const { state, frame } of place.stacks) {
      const target = int32At(next, state * width + symbol);
      if (target >= 0) reached.push([target, frame]);
    }
    const found = reached.length === 0 ? null : this.#placeOf(reached);
    place.next[symbol] = found;
    return found;
  }

  /** The place of these stacks and of all that calls and returns lead to without a byte. */
  #placeOf(reached: [number, Frame | null][]): Place | null {
    const { accepts, starts, callsFrom, callRules, callTargets } = this.#program;
    const seen = new Set<number>();
    const stacks: Stack[] = [];
    let accepting = false;
    const most = maxFollowed + starts.length;
    for (let top = reached.pop(); top && stacks.length < maxStacks && seen.size < most; top = reached.pop()) {
      const [state, frame] = top;
      const key = (frame ? frame.id : 0) * accepts.length + state;
      if (seen.has(key)) continue;
      seen.add(key);
      if (this.#hasBytes[state] === 1) stacks.push({ state, frame, key });
      if (accepts[state] === 1) {
        if (frame) reached.push([frame.state, frame.parent]);
        else accepting = true;
      }
      for (let i = int32At(callsFrom, state); i < int32At(callsFrom, state + 1); i++) {
        const target = int32At(callTargets, i);
        // A call that ends its rule returns at once to where the rule returns to.
        const back = this.#isLast[target] === 1 ? frame : this.#frame(target, frame);
        reached.push([int32At(starts, int32At(callRules, i)), back]);
      }
    }
    this.#work += seen.size;
    stacks.sort((a, b) => a.key - b.key);
    let name = accepting ? "+" : "";
    for (const { key } of stacks) name += `${key},`;
    const known = this.#places.get(name);
    if (known) return known;
    const place = new Place(stacks, accepting, this.#program.width);
    this.#keptBytes += 200 + 16 * this.#program.width + 150 * stacks.length;
    this.#places.set(name, place);
    return place;
  }

  #frame(state: number, parent: Frame | null): Frame {
    const key = (parent ? parent.id : 0) * this.#program.accepts.length + state;
    const known = this.#frames.get(key);
    if (known) return known;
    const frame = { id: ++this.#frameCount, state, parent };
    this.#keptBytes += 150;
    this.#frames.set(key, frame);
    return frame;
  }

  /** Sequences keep the places they are at, and with them what those know. Frames are counted on, so that no two share an id. */
  #forgetPastBound(): void {
    if (this.#keptBytes <= this.#bounds.maxKeptBytes) return;
    this.#frames = new Map();
    this.#places = new Map();
    this.#keptBytes = 0;
  }
}

/** One sequence's way through a grammar. */
export class GrammarMatcher {
  readonly #grammar: Grammar;
  #place: Place;

  constructor(grammar: Grammar, place: Place) {
    this.#grammar = grammar;
    this.#place = place;
  }

  /** The tokens that may come next: bit id % 32 of word id / 32. It is the grammar's: do not change it. */
  get mask(): Uint32Array {
    return this.#grammar.maskOf(this.#place);
  }

  /** The text so far is complete: it may end. */
  get isComplete(): boolean {
    return this.#place.accepts;
  }

  /** The text so far is complete and nothing may follow. */
  get isOver(): boolean {
    return this.#place.accepts && this.mask.every((word) => word === 0);
  }

  /** Goes on by a token that the mask allows. */
  accept(id: number): void {
    this.#place = this.#grammar.after(this.#place, id);
  }
}
