/** The texts that a grammar allows for calls of JSON objects. */
import { eitherForm, type GrammarForm, sequenceForm, severalForm, textForm } from "../../grammar/source.js";

/** A function whose calls a grammar holds. */
export interface HeldTool {
  readonly name: string;
  /** The schema of its arguments, of the type object. */
  readonly schema: Readonly<Record<string, unknown>>;
  /** Names the schema in faults. */
  readonly where: string;
}

export interface HeldCalls {
  readonly tools: readonly HeldTool[];
  /** Several calls may come. */
  readonly parallel: boolean;
  /** The chat template, whose spelling is followed where a format has several. */
  readonly template: string;
}

/** The arguments as JSON. */
export const argumentsForm = ({ schema, where }: HeldTool): GrammarForm => ({
  kind: "source",
  source: { kind: "schema", schema, param: "" },
  where,
});

/** One call of any of the functions, by what is before, between and after its name and arguments. */
export const anyCall = (tools: readonly HeldTool[], before: string, between: string, after: string): GrammarForm =>
  eitherForm(
    ...tools.map((tool) => sequenceForm(textForm(before + tool.name + between), argumentsForm(tool), textForm(after))),
  );

/** `[{"name": ..., "arguments": ...}, ...]` between two texts. */
export function listForm({ tools, parallel }: HeldCalls, begin: string, end: string): GrammarForm {
  const call = anyCall(tools, '{"name": "', '", "arguments": ', "}");
  return sequenceForm(textForm(`${begin}[`), severalForm(call, ", ", parallel), textForm(`]${end}`));
}
