/** The thread that compiles grammars: it has the bytes of the vocabulary, says when it is ready and answers one message at a time. */
import { parentPort, workerData } from "node:worker_threads";
import { type CompileBounds, compileRules } from "../compile.js";
import { GrammarFault } from "../fault.js";
import type { CompiledGrammar } from "../grammar.js";
import { maskVocabulary } from "../masks.js";
import { rulesOf } from "../rules.js";
import type { GrammarSource } from "../source.js";
import { type TokenBytes, type TokenTree, vocabularyTree } from "../token-tree.js";

export interface CompileMessage {
  readonly source: GrammarSource;
  /** The text follows a space. */
  readonly afterSpace: boolean;
}

/** The first message of the thread: the tree of the vocabulary, for the threads after it. */
export interface ReadyMessage {
  readonly tree: TokenTree;
}

export type CompileReply =
  | { readonly compiled: CompiledGrammar }
  /** The client's fault, or else ours. */
  | { readonly fault: string; readonly isClients: boolean };

export interface CompileSetup {
  readonly tokens: TokenBytes;
  /** null: not built yet. */
  readonly tree: TokenTree | null;
  readonly bounds: CompileBounds;
}

const { tokens, tree: known, bounds }: CompileSetup = workerData;
const tree = known ?? vocabularyTree(tokens);
const vocabulary = maskVocabulary(tokens, tree);

parentPort?.on("message", ({ source, afterSpace }: CompileMessage) => {
  try {
    const compiled = compileRules(rulesOf(source), vocabulary, { ...bounds, afterSpace });
    const { program, masks } = compiled;
    const tables = [...Object.values(program), ...Object.values(masks)];
    const moved = tables.flatMap((table) => (ArrayBuffer.isView(table) ? [table.buffer as ArrayBuffer] : []));
    parentPort?.postMessage({ compiled } satisfies CompileReply, moved);
  } catch (error) {
    // What nests too deeply for the stack is a RangeError of the engine's.
    const isTooDeep = error instanceof RangeError;
    const fault = isTooDeep ? "nests too deeply" : error instanceof Error ? error.message : String(error);
    parentPort?.postMessage({ fault, isClients: isTooDeep || error instanceof GrammarFault } satisfies CompileReply);
  }
});
parentPort?.postMessage({ tree } satisfies ReadyMessage);
