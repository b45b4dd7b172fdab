/** The thread that compiles grammars: it has the bytes of the vocabulary and answers one message at a time. */
import { parentPort, workerData } from "node:worker_threads";
import { Limits } from "../automaton.js";
import { type Expression, either, text } from "../expression.js";
import { GrammarFault } from "../fault.js";
import { patternOf } from "../pattern.js";
import { type Program, programOf } from "../program.js";
import { rulesOfObject, rulesOfSchema } from "../schema/schema.js";
import { spelledBytes, type TokenBytes, type TokenTree, tokenTree } from "../vocabulary.js";

export type CompileMessage =
  | { readonly kind: "tree" }
  | { readonly kind: "object" }
  /** `schema` is JSON. */
  | { readonly kind: "schema"; readonly schema: string }
  | { readonly kind: "pattern"; readonly pattern: string }
  | { readonly kind: "choice"; readonly choices: readonly string[] };

export type CompileReply =
  | { readonly tree: TokenTree }
  | { readonly program: Program }
  /** The client's fault, or else ours. */
  | { readonly fault: string; readonly isClients: boolean };

export interface CompileSetup extends TokenBytes {
  readonly maxSize: number;
}

const setup: CompileSetup = workerData;
const bytes = spelledBytes(setup);

parentPort?.on("message", (message: CompileMessage) => {
  let reply: CompileReply;
  try {
    reply = message.kind === "tree" ? { tree: tokenTree(setup) } : { program: compile(message) };
  } catch (error) {
    reply = {
      fault: error instanceof Error ? error.message : String(error),
      isClients: error instanceof GrammarFault || error instanceof RangeError,
    };
  }
  parentPort?.postMessage(reply);
});

function compile(message: Exclude<CompileMessage, { kind: "tree" }>): Program {
  return programOf(rulesOf(message), bytes, new Limits(setup.maxSize));
}

function rulesOf(message: Exclude<CompileMessage, { kind: "tree" }>): readonly Expression[] {
  switch (message.kind) {
    case "object":
      return rulesOfObject();
    case "schema":
      return rulesOfSchema(JSON.parse(message.schema));
    case "pattern":
      return [patternOf(message.pattern, { whole: true })];
    case "choice":
      return [either(...message.choices.map(text))];
  }
}
