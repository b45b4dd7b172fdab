/** A compiled grammar: the automata of its rules in flat tables that travel between threads. */
import { at } from "../base/list.js";
import { automatonOf, firstRule, type Limits, liveStates } from "./automaton.js";
import type { Automaton, Edge } from "./automaton-types.js";
import type { Expression } from "./expression.js";
import { GrammarFault } from "./fault.js";

export interface Program {
  /** The class of each byte: bytes of one class lead to the same states everywhere. */
  readonly classes: Uint8Array<ArrayBuffer>;
  readonly width: number;
  /** The state after `state` and a byte of class c, at `state * width + c`; -1 for none. */
  readonly next: Int32Array<ArrayBuffer>;
  readonly accepts: Uint8Array<ArrayBuffer>;
  /** The states of rule r are those from `rulesFrom[r]` up to `rulesFrom[r + 1]`. */
  readonly rulesFrom: Int32Array<ArrayBuffer>;
  /** The state that the text begins in. */
  readonly begin: number;
  /** The initial state of each rule. The rule `textRule` is the entire text. */
  readonly starts: Int32Array<ArrayBuffer>;
  /** The calls of `state` are those from `callsFrom[state]` up to `callsFrom[state + 1]`. */
  readonly callsFrom: Int32Array<ArrayBuffer>;
  readonly callRules: Int32Array<ArrayBuffer>;
  /** The state after the call. */
  readonly callTargets: Int32Array<ArrayBuffer>;
}

export const programBytes = (program: Program): number =>
  Object.values(program).reduce<number>((sum, part) => sum + (typeof part === "number" ? 8 : part.byteLength), 0);

/**
 * The rule `textRule` is the entire text. Bytes that are not tokens by themselves are excluded, so that every prefix can be completed byte by
 * byte.
 */
export function programOf(
  rules: readonly Expression[],
  bytes: readonly boolean[],
  limits: Limits,
  textRule = 0,
): Program {
  const automata = living(rules.map((rule) => spelled(automatonOf(rule, limits), bytes)));
  const text = at(automata, textRule);
  if (!text.edges[text.start]?.length) throw new GrammarFault("allows no text at all");
  const tables = tablesOf(automata, limits);
  return { ...tables, begin: at(tables.starts, textRule) };
}

function spelled(automaton: Automaton, bytes: readonly boolean[]): Automaton {
  if (bytes.every((isSpelled) => isSpelled)) return automaton;
  return { ...automaton, edges: automaton.edges.map((next) => next.flatMap((edge) => [...spelledParts(edge, bytes)])) };
}

function* spelledParts({ low, high, target }: Edge, bytes: readonly boolean[]): Iterable<Edge> {
  for (let symbol = low; symbol <= high; symbol++) {
    if (symbol >= firstRule || bytes[symbol]) yield { low: symbol, high: symbol, target };
  }
}

/** Removes calls of rules that never end, and states that continue only with such calls. */
function living(automata: readonly Automaton[]): readonly Automaton[] {
  const ends = new Set<number>();
  const passable = ({ edges }: Automaton) =>
    edges.map((next) => next.filter(({ low }) => low < firstRule || ends.has(low - firstRule)));
  for (let before = -1; before !== ends.size; ) {
    before = ends.size;
    for (const [rule, automaton] of automata.entries()) {
      if (!ends.has(rule) && liveStates(automaton.accepts, passable(automaton))[automaton.start]) ends.add(rule);
    }
  }
  return automata.map((automaton) => {
    const edges = passable(automaton);
    const alive = liveStates(automaton.accepts, edges);
    return { ...automaton, edges: edges.map((next) => next.filter(({ target }) => alive[target])) };
  });
}

function tablesOf(automata: readonly Automaton[], limits: Limits): Omit<Program, "begin"> {
  const bases: number[] = [];
  let states = 0;
  for (const { edges } of automata) {
    bases.push(states);
    states += edges.length;
  }
  const classes = classesOf(automata);
  const width = Math.max(...classes) + 1;
  limits.spend((states * width) >> 4);
  const next = new Int32Array(states * width).fill(-1);
  const accepts = new Uint8Array(states);
  const callsFrom = new Int32Array(states + 1);
  const callRules: number[] = [];
  const callTargets: number[] = [];
  let state = 0;
  for (const [rule, automaton] of automata.entries()) {
    const base = at(bases, rule);
    for (const [own, edges] of automaton.edges.entries()) {
      callsFrom[state] = callRules.length;
      accepts[state] = automaton.accepts[own] ? 1 : 0;
      for (const { low, high, target } of edges) {
        if (low < firstRule)
          next.fill(base + target, state * width + at(classes, low), state * width + at(classes, high) + 1);
        else {
          callRules.push(low - firstRule);
          callTargets.push(base + target);
        }
      }
      state++;
    }
  }
  callsFrom[state] = callRules.length;
  return {
    classes,
    width,
    next,
    accepts,
    rulesFrom: Int32Array.from([...bases, states]),
    starts: Int32Array.from(automata, ({ start }, rule) => at(bases, rule) + start),
    callsFrom,
    callRules: Int32Array.from(callRules),
    callTargets: Int32Array.from(callTargets),
  };
}

/** Bytes are of one class where no edge begins or ends between them. */
function classesOf(automata: readonly Automaton[]): Uint8Array<ArrayBuffer> {
  const begins = new Uint8Array(firstRule + 1);
  for (const { edges } of automata) {
    for (const { low, high } of edges.flat()) {
      if (low >= firstRule) continue;
      begins[low] = 1;
      begins[high + 1] = 1;
    }
  }
  let current = 0;
  return Uint8Array.from({ length: firstRule }, (_, byte) => {
    if (byte > 0) current += at(begins, byte);
    return current;
  });
}
