/** Which bytes may follow the end of a rule, wherever it is called: FOLLOW sets, as in parsers. */
import { at, int32At, uint8At } from "../base/list.js";
import type { Program } from "./program.js";

/** For each rule, one entry for each class of bytes: 1 where it may follow. */
export function followSets(program: Program): readonly Uint8Array[] {
  const { starts, callsFrom, callRules, callTargets, rulesFrom, width } = program;
  const follow = Array.from(starts, () => new Uint8Array(width));
  const isNullable = nullableRules(program);
  /** Rules that end with the call of another rule. */
  const callers: Set<number>[] = Array.from(starts, () => new Set<number>());
  for (let rule = 0; rule < starts.length; rule++) {
    for (let i = callsBegin(rule); i < callsBegin(rule + 1); i++) {
      const called = int32At(callRules, i);
      if (first(program, isNullable, { rule, state: int32At(callTargets, i) }, at(follow, called)))
        at(callers, called).add(rule);
    }
  }
  for (let isGrowing = true; isGrowing; ) {
    isGrowing = false;
    for (const [rule, own] of follow.entries()) {
      for (const caller of at(callers, rule)) isGrowing = merge(own, at(follow, caller)) || isGrowing;
    }
  }
  return follow;

  function callsBegin(rule: number): number {
    return int32At(callsFrom, int32At(rulesFrom, rule));
  }
}

/** Rules that match the empty text. */
function nullableRules(program: Program): ReadonlySet<number> {
  const nullable = new Set<number>();
  for (let before = -1; before !== nullable.size; ) {
    before = nullable.size;
    for (const [rule, start] of program.starts.entries()) {
      if (!nullable.has(rule) && first(program, nullable, { rule, state: start }, null)) nullable.add(rule);
    }
  }
  return nullable;
}

/** Adds the classes of bytes that may come first from a state of a rule. Returns whether the rule may end without any. */
function first(
  program: Program,
  nullable: ReadonlySet<number>,
  { rule, state: from }: { readonly rule: number; readonly state: number },
  found: Uint8Array | null,
): boolean {
  const { accepts, next, width, starts, rulesFrom, callsFrom, callRules, callTargets } = program;
  let mayEnd = false;
  const seen = new Set([from]);
  for (const state of seen) {
    const isOwn = state >= int32At(rulesFrom, rule) && state < int32At(rulesFrom, rule + 1);
    if (isOwn && uint8At(accepts, state) === 1) mayEnd = true;
    for (let symbol = 0; found && symbol < width; symbol++) {
      if (int32At(next, state * width + symbol) >= 0) found[symbol] = 1;
    }
    for (let i = int32At(callsFrom, state); i < int32At(callsFrom, state + 1); i++) {
      const called = int32At(callRules, i);
      seen.add(int32At(starts, called));
      if (nullable.has(called)) seen.add(int32At(callTargets, i));
    }
  }
  return mayEnd;
}

/** Adds the entries of `from`. Returns whether there were new ones. */
function merge(into: Uint8Array, from: Uint8Array): boolean {
  let isNew = false;
  for (const [symbol, follows] of from.entries()) {
    if (follows !== 1 || into[symbol] === 1) continue;
    into[symbol] = 1;
    isNew = true;
  }
  return isNew;
}
