/** Follows a text through a compiled grammar: its position, and the tokens that may come next. */
import { assert } from "../base/errors.js";
import { at, int32At, uint8At, uint16At } from "../base/list.js";
import { clearBit, type Masks, masksBytes, maskWords, setBit, setBits } from "./masks.js";
import { type Frame, type Position, Positions } from "./positions.js";
import { type Program, programBytes } from "./program.js";
import type { TokenBytes, TokenTree } from "./token-tree.js";

/** What compiling gives. */
export interface CompiledGrammar {
  readonly program: Program;
  readonly masks: Masks;
}

/**
 * Maximum steps to check a position's tails. Tokens with later tails are excluded, so that one client's grammar does not delay the others
 * for longer. The steps depend only on the text, so equal texts have equal masks.
 */
const maxTailSteps = 20_000;

export interface GrammarSettings {
  /** Memory for the positions that texts have reached. */
  readonly maxPositionBytes: number;
  /** Tokens that never come. The text that they spell can be spelled without them. */
  readonly excluded?: readonly number[];
}

export class Grammar {
  /** Bytes of memory, with the positions that it may keep. */
  readonly bytes: number;
  readonly #program: Program;
  readonly #masks: Masks;
  readonly #vocabulary: TokenBytes;
  readonly #maxPositionBytes: number;
  readonly #excluded: readonly number[];
  readonly #positions: Positions;
  readonly #words: number;
  readonly #path: Position[] = [];

  constructor(
    { program, masks }: CompiledGrammar,
    vocabulary: TokenBytes,
    { maxPositionBytes, excluded = [] }: GrammarSettings,
  ) {
    this.#program = program;
    this.#masks = masks;
    this.#vocabulary = vocabulary;
    this.#maxPositionBytes = maxPositionBytes;
    this.#excluded = excluded;
    this.#positions = new Positions(program);
    this.#words = maskWords(vocabulary);
    this.bytes = programBytes(program) + masksBytes(masks) + maxPositionBytes;
  }

  begin(): GrammarMatcher {
    const start = this.#positions.at(this.#program.begin, null);
    return new GrammarMatcher(this, start);
  }

  /** A mask to be filled. */
  emptyMask(): Uint32Array {
    return new Uint32Array(this.#words);
  }

  /** Sets the bits of the tokens that may come at the position: bit id % 32 of word id / 32. */
  fill(mask: Uint32Array, { stacks }: Position): void {
    const { maskOf, tailsOf, tails, offsets, data } = this.#masks;
    mask.fill(0);
    for (const { state } of stacks) {
      const index = int32At(maskOf, state);
      setBits(mask, data.subarray(int32At(offsets, index), int32At(offsets, index + 1)));
    }
    let steps = 0;
    for (const { state, frame } of stacks) {
      const tree = frame ? tails[int32At(tailsOf, state)] : undefined;
      if (frame && tree) steps = this.#fillByTails(mask, tree, frame, steps);
    }
    for (const id of this.#excluded) clearBit(mask, id);
  }

  /** The position after the token's bytes. */
  after(position: Position, id: number): Position {
    const { bytes, offsets } = this.#vocabulary;
    if (this.#positions.bytes > this.#maxPositionBytes) this.#positions.forget();
    let current = position;
    for (let i = int32At(offsets, id); i < int32At(offsets, id + 1); i++) {
      const next = this.#positions.step(current, uint8At(this.#program.classes, uint8At(bytes, i)));
      assert(next, `token ${id} came where the grammar does not allow it`);
      current = next;
    }
    return current;
  }

  /** Tries the tails where the frame returns to. Returns `steps` and those taken. */
  #fillByTails(mask: Uint32Array, tree: TokenTree, frame: Frame, steps: number): number {
    const { byte, depth, after, tokensFrom, tokens } = tree;
    const { classes } = this.#program;
    const [path, positions] = [this.#path, this.#positions];
    path[0] = positions.at(frame.state, frame.caller);
    let taken = steps;
    for (let node = 0; node < byte.length && taken < maxTailSteps; ) {
      const level = uint16At(depth, node);
      const next = positions.step(at(path, level - 1), uint8At(classes, uint8At(byte, node)));
      if (next === null) {
        taken++;
        node = int32At(after, node);
        continue;
      }
      taken += 1 + next.stacks.length;
      path[level] = next;
      for (let i = int32At(tokensFrom, node); i < int32At(tokensFrom, node + 1); i++) setBit(mask, int32At(tokens, i));
      node++;
    }
    return taken;
  }
}

/** One sequence's progress through a grammar. */
export class GrammarMatcher {
  readonly #grammar: Grammar;
  #position: Position;

  constructor(grammar: Grammar, start: Position) {
    this.#grammar = grammar;
    this.#position = start;
  }

  /** The text so far is complete: it may end. */
  get isComplete(): boolean {
    return this.#position.accepts;
  }

  /** The text so far is complete and nothing may follow. */
  get isOver(): boolean {
    return this.#position.accepts && this.#position.stacks.length === 0;
  }

  emptyMask(): Uint32Array {
    return this.#grammar.emptyMask();
  }

  /** Sets the bits of the tokens that may come next: bit id % 32 of word id / 32. */
  fill(mask: Uint32Array): void {
    this.#grammar.fill(mask, this.#position);
  }

  /** Advances by an allowed token. */
  accept(id: number): void {
    this.#position = this.#grammar.after(this.#position, id);
  }
}
