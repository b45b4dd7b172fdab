/** Rules into what the event loop needs of a grammar, within bounds. Runs in the compiling thread. */
import { Limits } from "./automaton.js";
import { call, type Expression, sequence, text } from "./expression.js";
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

export interface CompileOptions extends CompileBounds {
  /** The text follows a space: tokenizers that drop the first space of a text drop this one. */
  readonly afterSpace: boolean;
}

/** The first rule is the whole text. Throws GrammarFault. */
export function compileRules(
  rules: readonly Expression[],
  vocabulary: MaskVocabulary,
  { maxSize, maxMaskBytes, afterSpace }: CompileOptions,
): CompiledGrammar {
  if (leftRecursive(rules) !== null) throw new GrammarFault("refers to itself without anything in between");
  const all = afterSpace ? [...rules, sequence(text(" "), call(0))] : rules;
  const program = programOf(all, spelledBytes(vocabulary), new Limits(maxSize), afterSpace ? rules.length : 0);
  return { program, masks: masksOf(program, vocabulary, maxMaskBytes) };
}
