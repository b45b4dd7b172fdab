/** A grammar's source, as a client gives it. Its faults name `param`. */

export type GrammarSource =
  /** Any JSON object. */
  | { readonly kind: "object"; readonly param: string }
  | { readonly kind: "schema"; readonly schema: unknown; readonly param: string }
  /** The entire text matches the pattern. */
  | { readonly kind: "pattern"; readonly pattern: string; readonly param: string }
  /** The entire text is one of these. */
  | { readonly kind: "choice"; readonly choices: readonly string[]; readonly param: string }
  /** The notation of llama.cpp; vLLM's EBNF is the same. */
  | { readonly kind: "gbnf"; readonly grammar: string; readonly param: string };
