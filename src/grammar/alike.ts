/**
 * Groups states that accept the same next bytes, up to some length. States that agree for the longest token share a mask: all of a long
 * counted string but those near its end, which differ from the others only in long tokens.
 */
import { at, int32At, uint8At } from "../base/list.js";
import type { Program } from "./program.js";

export interface Kin {
  readonly group: number;
  readonly bytes: number;
}

export interface Alike {
  /** For each state its group: states that are alike for the most bytes that were asked for. */
  readonly groupOf: Int32Array;
  /** By group: an earlier group, and for how many bytes its states are alike with those of this one. */
  readonly kin: readonly Kin[];
}

/** `kindOf` names a kind for each rule: states of different kinds are not alike. Neither are states that call a rule. */
export function alikeStates(program: Program, maxBytes: number, kindOf: (rule: number) => string): Alike {
  return new Partition(program, kindOf).refine(maxBytes);
}

/** Moore's partition refinement; each round looks one byte further, and only at states whose successors changed their group. */
class Partition {
  readonly #program: Program;
  readonly #groupOf: Int32Array;
  readonly #members: Set<number>[] = [];
  readonly #kin: Kin[] = [];
  readonly #sources: readonly (readonly number[])[];

  constructor(program: Program, kindOf: (rule: number) => string) {
    this.#program = program;
    const { accepts, rulesFrom, starts } = program;
    this.#groupOf = new Int32Array(accepts.length);
    const byKind = new Map<string, number>();
    for (let rule = 0; rule < starts.length; rule++) {
      for (let state = int32At(rulesFrom, rule); state < int32At(rulesFrom, rule + 1); state++) {
        const hasCalls = program.callsFrom[state] !== program.callsFrom[state + 1];
        const kind = hasCalls ? `${state}` : `${uint8At(accepts, state)} ${kindOf(rule)}`;
        const group = byKind.get(kind) ?? this.#add([], 0, 0);
        byKind.set(kind, group);
        at(this.#members, group).add(state);
        this.#groupOf[state] = group;
      }
    }
    this.#sources = sourcesOf(program);
  }

  refine(rounds: number): Alike {
    let affected: Iterable<number> = this.#groupOf.keys();
    for (let round = 0; round < rounds; round++) {
      const moved = this.#split(affected, round);
      if (moved.length === 0) break;
      const sources = new Set<number>();
      for (const state of moved) for (const source of at(this.#sources, state)) sources.add(source);
      affected = sources;
    }
    return { groupOf: this.#groupOf, kin: this.#kin };
  }

  /** Moves states that no longer match their group to new groups. Returns those states. */
  #split(affected: Iterable<number>, round: number): number[] {
    const byGroup = new Map<number, number[]>();
    for (const state of affected) push(byGroup, int32At(this.#groupOf, state), state);
    const moves: (readonly [number, readonly number[]])[] = [];
    for (const [group, states] of byGroup) {
      const members = at(this.#members, group);
      if (members.size === 1) continue;
      const bySignature = new Map<string, number[]>();
      for (const state of states) push(bySignature, this.#signature(state), state);
      const kept = members.size > states.length ? this.#signature(unaffected(members, states)) : longest(bySignature);
      for (const [signature, same] of bySignature) if (signature !== kept) moves.push([group, same]);
    }
    for (const [group, states] of moves) this.#move(group, states, round);
    return moves.flatMap(([, states]) => states);
  }

  #move(from: number, states: readonly number[], bytes: number): void {
    const group = this.#add(states, from, bytes);
    for (const state of states) {
      at(this.#members, from).delete(state);
      this.#groupOf[state] = group;
    }
  }

  #add(states: readonly number[], kin: number, bytes: number): number {
    this.#kin.push({ group: kin, bytes });
    return this.#members.push(new Set(states)) - 1;
  }

  /** The groups that the state's bytes lead to. */
  #signature(state: number): string {
    const { next, width } = this.#program;
    let signature = "";
    let previous = -2;
    for (let symbol = 0; symbol < width; symbol++) {
      const target = int32At(next, state * width + symbol);
      const group = target < 0 ? -1 : int32At(this.#groupOf, target);
      if (group !== previous) signature += `${symbol}:${group},`;
      previous = group;
    }
    return signature;
  }
}

/** The predecessors of each state. */
function sourcesOf({ next, width, accepts }: Program): number[][] {
  const sources: number[][] = Array.from(accepts, () => []);
  for (let state = 0; state < accepts.length; state++) {
    let previous = -1;
    for (let symbol = 0; symbol < width; symbol++) {
      const target = int32At(next, state * width + symbol);
      if (target >= 0 && target !== previous) at(sources, target).push(state);
      previous = target;
    }
  }
  return sources;
}

function push<K>(lists: Map<K, number[]>, key: K, value: number): void {
  const list = lists.get(key);
  if (list) list.push(value);
  else lists.set(key, [value]);
}

/** A state whose successors are unchanged, which keeps its group. */
function unaffected(members: ReadonlySet<number>, affected: readonly number[]): number {
  const others = new Set(affected);
  for (const state of members) if (!others.has(state)) return state;
  throw new RangeError("some member is not affected");
}

function longest(lists: ReadonlyMap<string, readonly number[]>): string {
  let [best, most] = ["", 0];
  for (const [key, { length }] of lists) if (length > most) [best, most] = [key, length];
  return best;
}
