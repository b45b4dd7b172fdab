/**
 * Compiles expressions to deterministic automata over bytes, by way of nondeterministic ones. The call of a rule is a symbol, like a byte.
 * Every node, state and step counts towards a limit, since a small expression can have a huge automaton.
 */
import { at } from "../base/list.js";
import type { Automaton, Edge } from "./automaton-types.js";
import type { Expression } from "./expression.js";
import { GrammarFault } from "./fault.js";
import { byteSequences } from "./utf8.js";

/** Symbols below are bytes; above, `firstRule + rule`. */
export const firstRule = 256;

type ListExpression = Extract<Expression, { kind: "list" }>;

interface Fragment {
  readonly start: number;
  readonly end: number;
}

export class Limits {
  #left: number;
  readonly #max: number;

  constructor(max: number) {
    this.#left = max;
    this.#max = max;
  }

  spend(amount: number): void {
    this.#left -= amount;
    if (this.#left < 0) {
      throw new GrammarFault(
        `is too large: its automaton takes more than ${this.#max} states and edges (--max-grammar-size)`,
      );
    }
  }
}

export function automatonOf(expression: Expression, limits: Limits): Automaton {
  const builder = new Builder(limits);
  const { start, end } = builder.add(expression);
  return builder.determinize(start, end);
}

class Builder {
  readonly #limits: Limits;
  readonly #edges: Edge[][] = [];
  readonly #jumps: number[][] = [];

  constructor(limits: Limits) {
    this.#limits = limits;
  }

  add(expression: Expression): Fragment {
    switch (expression.kind) {
      case "chars": {
        const [start, end] = [this.#node(), this.#node()];
        for (const [from, to] of expression.ranges) {
          for (const ranges of byteSequences(from, to)) {
            let node = start;
            for (const [index, [low, high]] of ranges.entries()) {
              const target = index === ranges.length - 1 ? end : this.#node();
              this.#edge(node, low, high, target);
              node = target;
            }
          }
        }
        return { start, end };
      }
      case "sequence": {
        const start = this.#node();
        let end = start;
        for (const item of expression.items) {
          const next = this.add(item);
          this.#jump(end, next.start);
          end = next.end;
        }
        return { start, end };
      }
      case "either": {
        const [start, end] = [this.#node(), this.#node()];
        for (const item of expression.items) {
          const part = this.add(item);
          this.#jump(start, part.start);
          this.#jump(part.end, end);
        }
        return { start, end };
      }
      case "repeat":
        return this.#repeat(expression.item, expression.min, expression.max);
      case "call": {
        const [start, end] = [this.#node(), this.#node()];
        this.#edge(start, firstRule + expression.rule, firstRule + expression.rule, end);
        return { start, end };
      }
      case "list":
        return this.#list(expression);
      case "automaton":
        return this.#embed(expression.automaton);
      case "both":
      case "except": {
        const left = automatonOf(expression.left, this.#limits);
        const right = automatonOf(expression.right, this.#limits);
        return this.#embed(product(left, right, expression.kind === "both", this.#limits));
      }
    }
  }

  #repeat(item: Expression, min: number, max: number | null): Fragment {
    const start = this.#node();
    let end = start;
    const append = (): Fragment => {
      const part = this.add(item);
      this.#jump(end, part.start);
      end = part.end;
      return part;
    };
    for (let i = 0; i < min; i++) append();
    if (max === null) {
      const loop = this.#node();
      this.#jump(end, loop);
      const part = this.add(item);
      this.#jump(loop, part.start);
      this.#jump(part.end, loop);
      return { start, end: loop };
    }
    const last = this.#node();
    for (let i = min; i < max; i++) {
      this.#jump(end, last);
      append();
    }
    this.#jump(end, last);
    return { start, end: last };
  }

  /** Two lanes, before the first entry and after it; each entry is built once, and both lanes pass through it. */
  #list({ entries, separator, before: opening, after: closing }: ListExpression): Fragment {
    const start = this.#node();
    const first = this.add(opening);
    this.#jump(start, first.start);
    let [before, after] = [first.end, this.#node()];
    for (const { item, times } of entries) {
      const between = this.add(separator);
      const part = this.add(item);
      this.#jump(after, between.start);
      this.#jump(between.end, part.start);
      this.#jump(before, part.start);
      const next = this.#node();
      this.#jump(part.end, next);
      if (times === "any") this.#jump(next, between.start);
      if (times === "once") before = this.#node();
      else this.#jump(after, next);
      after = next;
    }
    const last = this.add(closing);
    this.#jump(after, last.start);
    if (entries.every(({ times }) => times !== "once")) this.#jump(start, last.end);
    return { start, end: last.end };
  }

  #embed({ start, accepts, edges }: Automaton): Fragment {
    const nodes = edges.map(() => this.#node());
    const end = this.#node();
    for (const [state, next] of edges.entries()) {
      for (const { low, high, target } of next) this.#edge(at(nodes, state), low, high, at(nodes, target));
      if (accepts[state]) this.#jump(at(nodes, state), end);
    }
    return { start: at(nodes, start), end };
  }

  #node(): number {
    this.#limits.spend(1);
    this.#edges.push([]);
    this.#jumps.push([]);
    return this.#edges.length - 1;
  }

  #edge(from: number, low: number, high: number, target: number): void {
    this.#limits.spend(1);
    at(this.#edges, from).push({ low, high, target });
  }

  #jump(from: number, target: number): void {
    this.#limits.spend(1);
    at(this.#jumps, from).push(target);
  }

  determinize(start: number, end: number): Automaton {
    const known = new Map<string, number>();
    const sets: Int32Array[] = [];
    const accepts: boolean[] = [];
    const edges: Edge[][] = [];
    const stateOf = (nodes: readonly number[]): number => {
      const set = this.#closure(nodes, end);
      const key = set.join();
      const found = known.get(key);
      if (found !== undefined) return found;
      this.#limits.spend(1);
      known.set(key, sets.length);
      sets.push(set);
      accepts.push(set.includes(end));
      edges.push([]);
      return sets.length - 1;
    };
    stateOf([start]);
    for (let state = 0; state < sets.length; state++) {
      const leaving = [...at(sets, state)].flatMap((node) => at(this.#edges, node));
      this.#limits.spend(leaving.length);
      const next = at(edges, state);
      for (const [low, high, targets] of stretches(leaving)) {
        this.#limits.spend(targets.length);
        const target = stateOf(targets);
        next.push({ low, high, target });
      }
    }
    return reduced({ start: 0, accepts, edges });
  }

  #closure(nodes: readonly number[], end: number): Int32Array {
    const seen = new Set(nodes);
    for (const node of seen) for (const target of at(this.#jumps, node)) seen.add(target);
    this.#limits.spend(seen.size >> 3);
    // Nodes with only empty moves would distinguish equal sets.
    const kept = [...seen].filter((node) => node === end || at(this.#edges, node).length > 0);
    return Int32Array.from(kept).sort();
  }
}

/** Stretches of symbols that the same edges cover, with where they lead. */
function* stretches(edges: readonly Edge[]): Iterable<readonly [number, number, readonly number[]]> {
  const bounds = [...new Set(edges.flatMap(({ low, high }) => [low, high + 1]))].sort((a, b) => a - b);
  for (let i = 0; i + 1 < bounds.length; i++) {
    const [low, next] = [at(bounds, i), at(bounds, i + 1)];
    const targets = edges.filter((edge) => edge.low <= low && low <= edge.high).map(({ target }) => target);
    if (targets.length > 0) yield [low, next - 1, [...new Set(targets)]];
  }
}

/** The texts that both accept, or that `left` accepts and `right` does not. */
function product(left: Automaton, right: Automaton, wantsRight: boolean, limits: Limits): Automaton {
  const dead = right.edges.length;
  const known = new Map<number, number>();
  const pairs: (readonly [number, number])[] = [];
  const accepts: boolean[] = [];
  const edges: Edge[][] = [];
  const stateOf = (a: number, b: number): number => {
    const key = a * (dead + 1) + b;
    const found = known.get(key);
    if (found !== undefined) return found;
    limits.spend(1);
    known.set(key, pairs.length);
    pairs.push([a, b]);
    accepts.push(left.accepts[a] === true && (right.accepts[b] === true) === wantsRight);
    edges.push([]);
    return pairs.length - 1;
  };
  stateOf(left.start, right.start);
  for (let state = 0; state < pairs.length; state++) {
    const [a, b] = at(pairs, state);
    const others = right.edges[b] ?? [];
    for (const edge of at(left.edges, a)) {
      limits.spend(1 + others.length);
      for (const { low, high, target } of overlaps(edge, others, dead)) {
        if (target === dead && wantsRight) continue;
        at(edges, state).push({ low, high, target: stateOf(edge.target, target) });
      }
    }
  }
  return reduced({ start: 0, accepts, edges });
}

/** The symbols of an edge, cut where the other edges begin and end, with where those lead; `dead` where none does. */
function* overlaps(edge: Edge, others: readonly Edge[], dead: number): Iterable<Edge> {
  let next = edge.low;
  for (const other of others) {
    const [low, high] = [Math.max(edge.low, other.low), Math.min(edge.high, other.high)];
    if (low > high) continue;
    if (low > next) yield { low: next, high: low - 1, target: dead };
    yield { low, high, target: other.target };
    next = high + 1;
  }
  if (next <= edge.high) yield { low: next, high: edge.high, target: dead };
}

/** Removes states from which nothing is accepted. */
function reduced({ start, accepts, edges }: Automaton): Automaton {
  const alive = liveStates(accepts, edges);
  if (alive[start] !== true) return { start: 0, accepts: [false], edges: [[]] };
  const places: number[] = [];
  let count = 0;
  for (const living of alive) places.push(living ? count++ : -1);
  return {
    start: at(places, start),
    accepts: accepts.filter((_, state) => alive[state]),
    edges: edges
      .filter((_, state) => alive[state])
      .map((next) =>
        next
          .filter(({ target }) => alive[target])
          .map(({ low, high, target }) => ({ low, high, target: at(places, target) })),
      ),
  };
}

/** States from which some text is accepted. */
export function liveStates(accepts: readonly boolean[], edges: readonly (readonly Edge[])[]): readonly boolean[] {
  const sources: number[][] = edges.map(() => []);
  for (const [state, next] of edges.entries()) for (const { target } of next) at(sources, target).push(state);
  const alive = [...accepts];
  const pending = alive.flatMap((accepting, state) => (accepting ? [state] : []));
  for (let state = pending.pop(); state !== undefined; state = pending.pop()) {
    for (const source of at(sources, state)) {
      if (alive[source]) continue;
      alive[source] = true;
      pending.push(source);
    }
  }
  return alive;
}
