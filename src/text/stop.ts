/**
 * Finds stop strings in text that arrives in pieces, and holds back text that may be the beginning of one. An Aho-Corasick
 * automaton (1975): each character is read once, however many strings there are.
 */

import { LorikeetError } from "../base/errors.js";

interface State {
  /** Code units of the longest prefix of a stop string that the text ends with. */
  readonly depth: number;
  readonly next: Map<string, State>;
  /** The state of the next shorter such prefix. */
  fail: State | null;
  /** The longest stop string that the text ends with. */
  stop: string | null;
}

export interface StopResult {
  /** Text that is certain to come before any stop string. */
  readonly text: string;
  /** The stop string found, now or earlier. */
  readonly stopped: string | null;
}

/**
 * The first complete match wins; of several that end at the same character, the longest. So the result does not depend on how
 * the text was cut. Text after the match is dropped.
 */
export class StopMatcher {
  readonly #root: State;
  #state: State;
  /** The text of `#state`, which is held back. */
  #held = "";
  #stopped: string | null = null;

  /** @throws LorikeetError `invalid_value` for an empty stop string. */
  constructor(stops: readonly string[]) {
    this.#root = automaton(stops);
    this.#state = this.#root;
  }

  /** With `mayStop` false a stop string that this text completes is ignored. */
  push(text: string, mayStop = true): StopResult {
    if (this.#stopped !== null) return { text: "", stopped: this.#stopped };
    if (this.#root.next.size === 0) return { text, stopped: null };
    const seen = this.#held + text;
    let end = this.#held.length;
    for (const character of text) {
      end += character.length;
      this.#state = advance(this.#root, this.#state, character);
      const { stop } = this.#state;
      if (stop === null || !mayStop) continue;
      this.#held = "";
      this.#stopped = stop;
      return { text: seen.slice(0, end - stop.length), stopped: stop };
    }
    const certain = seen.length - this.#state.depth;
    this.#held = seen.slice(certain);
    return { text: seen.slice(0, certain), stopped: null };
  }

  /** Ends the text and returns what was held back. */
  flush(): string {
    const rest = this.#held;
    this.#held = "";
    this.#state = this.#root;
    return rest;
  }
}

function advance(root: State, from: State, character: string): State {
  for (let state: State | null = from; state; state = state.fail) {
    const next = state.next.get(character);
    if (next) return next;
  }
  return root;
}

function automaton(stops: readonly string[]): State {
  const root: State = { depth: 0, next: new Map(), fail: null, stop: null };
  for (const stop of stops) {
    if (stop === "") throw new LorikeetError("invalid_value", "A stop string must not be empty.", { param: "stop" });
    let state = root;
    for (const character of stop) {
      const next = state.next.get(character) ?? {
        depth: state.depth + character.length,
        next: new Map(),
        fail: root,
        stop: null,
      };
      state.next.set(character, next);
      state = next;
    }
    state.stop = stop;
  }
  // Breadth first, so that the states of shorter suffixes are complete first.
  const queue = [root];
  for (const state of queue) {
    for (const [character, next] of state.next) {
      if (state.fail) next.fail = advance(root, state.fail, character);
      next.stop ??= next.fail?.stop ?? null;
      queue.push(next);
    }
  }
  return root;
}
