/**
 * Positions in a grammar. A position is a set of stacks: a state of a rule, and the states to return to. Positions are created when a text
 * first reaches them, and cached with their successors by byte.
 *
 * What a position allows depends only on the text, not on the cache: stacks have the order in which the text reaches them.
 */
import { int32At, uint8At } from "../base/list.js";
import type { Program } from "./program.js";

/** Further stacks of a position are dropped. Every stack can be completed, so the remaining ones allow fewer texts, but no wrong ones. */
const maxStacks = 64;
/** Calls and returns that are followed for a position, depth first: some stack is always found. */
const maxFollowed = 4096;

/** Where a call returns to. Equal stacks of frames are one object. */
export interface Frame {
  readonly id: number;
  readonly state: number;
  readonly caller: Frame | null;
}

export interface Stack {
  /** A byte leads on from here. */
  readonly state: number;
  /** null: in the rule that the positions began with. */
  readonly frame: Frame | null;
}

export class Position {
  readonly stacks: readonly Stack[];
  /** The text may end here. */
  readonly accepts: boolean;
  /** The position after a byte of each class; null where none may follow, undefined until it is asked for. */
  readonly next: (Position | null | undefined)[];

  constructor(stacks: readonly Stack[], accepts: boolean, width: number) {
    this.stacks = stacks;
    this.accepts = accepts;
    this.next = new Array<Position | null | undefined>(width).fill(undefined);
  }
}

export class Positions {
  readonly #program: Program;
  /** For each state: whether a byte leads on, and whether nothing does and the rule ends. */
  readonly #hasBytes: Uint8Array;
  readonly #isLast: Uint8Array;
  #frames = new Map<number, Frame>();
  #known = new Map<string, Position>();
  /** Never reset, not even with the cache, so that no two frames share an id. */
  #frameCount = 0;
  #bytes = 0;

  constructor(program: Program) {
    this.#program = program;
    const { accepts, next, width, callsFrom } = program;
    this.#hasBytes = accepts.map((_, state) =>
      next.subarray(state * width, (state + 1) * width).some((target) => target >= 0) ? 1 : 0,
    );
    this.#isLast = accepts.map((accepting, state) =>
      accepting === 1 && this.#hasBytes[state] === 0 && callsFrom[state] === callsFrom[state + 1] ? 1 : 0,
    );
  }

  /** Approximate bytes of the cache. */
  get bytes(): number {
    return this.#bytes;
  }

  hasBytes(state: number): boolean {
    return this.#hasBytes[state] === 1;
  }

  at(state: number, frame: Frame | null): Position {
    return this.#find([state], [frame]);
  }

  /** The position after a byte of a class; null where none may follow. */
  step(position: Position, symbol: number): Position | null {
    const known = position.next[symbol];
    if (known !== undefined) return known;
    const { next, width } = this.#program;
    const states: number[] = [];
    const frames: (Frame | null)[] = [];
    for (let i = position.stacks.length - 1; i >= 0; i--) {
      const stack = position.stacks[i];
      const target = stack ? int32At(next, stack.state * width + symbol) : -1;
      if (target < 0) continue;
      states.push(target);
      frames.push(stack?.frame ?? null);
    }
    const found = states.length === 0 ? null : this.#find(states, frames);
    position.next[symbol] = found;
    return found;
  }

  /** Positions in use stay valid: they find new ones. */
  forget(): void {
    this.#frames = new Map();
    this.#known = new Map();
    this.#bytes = 0;
  }

  /** The position of these stacks, and of all that calls and returns lead to without a byte. */
  #find(states: number[], frames: (Frame | null)[]): Position {
    const { accepts, starts, callsFrom, callRules, callTargets } = this.#program;
    const seen = new Set<number>();
    const stacks: Stack[] = [];
    let accepting = false;
    let name = "";
    const most = maxFollowed + starts.length;
    for (let state = states.pop(); state !== undefined; state = states.pop()) {
      const frame = frames.pop() ?? null;
      if (stacks.length >= maxStacks || seen.size >= most) break;
      const key = this.#key(state, frame);
      if (seen.has(key)) continue;
      seen.add(key);
      if (this.#hasBytes[state] === 1) {
        stacks.push({ state, frame });
        name += `${key},`;
      }
      if (uint8At(accepts, state) === 1) {
        if (frame) {
          states.push(frame.state);
          frames.push(frame.caller);
        } else accepting = true;
      }
      for (let i = int32At(callsFrom, state + 1) - 1; i >= int32At(callsFrom, state); i--) {
        const target = int32At(callTargets, i);
        states.push(int32At(starts, int32At(callRules, i)));
        // A call that ends its rule returns at once to where the rule returns to.
        frames.push(this.#isLast[target] === 1 ? frame : this.#frame(target, frame));
      }
    }
    if (accepting) name += "+";
    const known = this.#known.get(name);
    if (known) return known;
    const position = new Position(stacks, accepting, this.#program.width);
    this.#bytes += 300 + 8 * this.#program.width + 2 * name.length + 64 * stacks.length;
    this.#known.set(name, position);
    return position;
  }

  #frame(state: number, caller: Frame | null): Frame {
    const key = this.#key(state, caller);
    const known = this.#frames.get(key);
    if (known) return known;
    const frame = { id: ++this.#frameCount, state, caller };
    this.#bytes += 150;
    this.#frames.set(key, frame);
    return frame;
  }

  #key(state: number, frame: Frame | null): number {
    return (frame ? frame.id : 0) * this.#program.accepts.length + state;
  }
}
