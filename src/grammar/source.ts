/** A grammar's source, as a client gives it. Its faults name `param`. */

export type GrammarSource = PlainSource | { readonly kind: "form"; readonly form: GrammarForm; readonly param: string };

export type PlainSource =
  /** Any JSON object. */
  | { readonly kind: "object"; readonly param: string }
  | { readonly kind: "schema"; readonly schema: unknown; readonly param: string }
  /** The entire text matches the pattern. */
  | { readonly kind: "pattern"; readonly pattern: string; readonly param: string }
  /** The entire text is one of these. */
  | { readonly kind: "choice"; readonly choices: readonly string[]; readonly param: string }
  /** The notation of llama.cpp; vLLM's EBNF is the same. */
  | { readonly kind: "gbnf"; readonly grammar: string; readonly param: string };

/** Grammars put together. Special tokens that are markers may spell text of a form, but of no other grammar. */
export type GrammarForm =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "sequence" | "either"; readonly items: readonly GrammarForm[] }
  | { readonly kind: "repeat"; readonly item: GrammarForm; readonly min: number; readonly max: number | null }
  /** The entries in this order, with the separator between those that occur. */
  | {
      readonly kind: "list";
      readonly separator: string;
      readonly entries: readonly { readonly item: GrammarForm; readonly isRequired: boolean }[];
    }
  /** Any text in which none of these occurs and which does not begin with `start`, white space apart. */
  | { readonly kind: "without"; readonly texts: readonly string[]; readonly start?: string | undefined }
  /** `where` says in faults which of several schemas is wrong. */
  | { readonly kind: "source"; readonly source: PlainSource; readonly where?: string };

export const textForm = (text: string): GrammarForm => ({ kind: "text", text });
export const sequenceForm = (...items: readonly GrammarForm[]): GrammarForm => ({ kind: "sequence", items });
export const eitherForm = (...items: readonly GrammarForm[]): GrammarForm => ({ kind: "either", items });
export const optionalForm = (item: GrammarForm): GrammarForm => ({ kind: "repeat", item, min: 0, max: 1 });
export const patternForm = (pattern: string): GrammarForm => ({
  kind: "source",
  source: { kind: "pattern", pattern, param: "" },
});

/** One item, or with `more` several with the separator between them. */
export function severalForm(item: GrammarForm, separator: string, more: boolean): GrammarForm {
  if (!more) return item;
  return sequenceForm(item, { kind: "repeat", item: sequenceForm(textForm(separator), item), min: 0, max: null });
}
