/** Rules into what the event loop needs of a grammar, within bounds. Runs in the compiling thread. */
import { Limits } from "./automaton.js";
import type { Expression } from "./expression.js";
import { GrammarFault } from "./fault.js";
import type { CompiledGrammar } from "./grammar.js";
import { leftRecursive } from "./left-recursion.js";
import { type MaskVocabulary, masksOf } from "./masks.js";
import { programOf } from "./program.js";
import { spelledBytes } from "./token-tree.js";

export interface CompileBounds {
  /** States and edges. */
  readonly maxSize: number;
  readonly maxMaskBytes: number;
}

/** The first rule is the whole text. Throws GrammarFault. */
export function compileRules(
  rules: readonly Expression[],
  vocabulary: MaskVocabulary,
  { maxSize, maxMaskBytes }: CompileBounds,
): CompiledGrammar {
  if (leftRecursive(rules) !== null) throw new GrammarFault("refers to itself without anything in between");
  const program = programOf(rules, spelledBytes(vocabulary), new Limits(maxSize));
  return { program, masks: masksOf(program, vocabulary, maxMaskBytes) };
}
