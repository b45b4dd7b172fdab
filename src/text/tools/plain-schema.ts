/**
 * Schemas of arguments that are not written as JSON: objects, lists and strings in a format's own spelling, everything else as JSON. A keyword
 * that is not enforced is refused by name.
 */
import { LorikeetError } from "../../base/errors.js";
import { isObject, type Json } from "../../base/json.js";
import { eitherForm, type GrammarForm, sequenceForm, severalForm, textForm } from "../../grammar/source.js";

/** How a format writes strings and keys. */
export interface Spelling {
  /** Any string. */
  readonly string: GrammarForm;
  /** One string. */
  word(text: string): string;
  key(name: string): string;
}

/** Keywords that change nothing. */
const annotations = ["title", "description", "default", "examples", "additionalProperties", "$schema"];

interface Property {
  readonly name: string;
  readonly schema: unknown;
  readonly isRequired: boolean;
}

/** An object in curly brackets. `where` names the schema in faults. */
export function plainObject(schema: Json, where: string, spelling: Spelling): GrammarForm {
  const entries = propertiesOf(schema, where).map(({ name, schema: inner, isRequired }) => ({
    item: sequenceForm(textForm(spelling.key(name)), plainValue(inner, where, spelling)),
    isRequired,
  }));
  return sequenceForm(textForm("{"), { kind: "list", separator: ",", entries }, textForm("}"));
}

export function propertiesOf(schema: Json, where: string): Property[] {
  requireKeywords(schema, ["type", "properties", "required"], where);
  const { properties = {}, required = [] } = schema;
  if (!isObject(properties) || !Array.isArray(required))
    throw refusal(where, "`properties` must be an object and `required` a list");
  return Object.entries(properties).map(([name, inner]) => {
    if (!/^[\w.-]+$/.test(name)) throw refusal(where, "names of properties may have letters, digits, `_`, `.` and `-`");
    return { name, schema: inner, isRequired: required.includes(name) };
  });
}

function plainValue(schema: unknown, where: string, spelling: Spelling): GrammarForm {
  if (!isObject(schema) || typeof schema.type !== "string") throw refusal(where, "each value must have one `type`");
  switch (schema.type) {
    case "object":
      return plainObject(schema, where, spelling);
    case "array": {
      requireKeywords(schema, ["type", "items"], where);
      const items = severalForm(plainValue(schema.items, where, spelling), ",", true);
      return sequenceForm(textForm("["), { kind: "repeat", item: items, min: 0, max: 1 }, textForm("]"));
    }
    case "string":
      return plainString(schema, where, spelling.string, spelling.word);
    default:
      return jsonForm(schema, where);
  }
}

/** Any string, or those that are listed. */
export function plainString(
  schema: Json,
  where: string,
  any: GrammarForm,
  word: (text: string) => string,
): GrammarForm {
  requireKeywords(schema, ["type", "enum"], where);
  if (schema.enum === undefined) return any;
  const words = Array.isArray(schema.enum) ? schema.enum.filter((each) => typeof each === "string") : [];
  if (words.length === 0) throw refusal(where, "the `enum` of a string must have strings");
  return eitherForm(...words.map((each) => textForm(word(each))));
}

export const jsonForm = (schema: unknown, where: string): GrammarForm => ({
  kind: "source",
  source: { kind: "schema", schema, param: "" },
  where,
});

function requireKeywords(schema: Json, known: readonly string[], where: string): void {
  const other = Object.keys(schema).find((keyword) => !known.includes(keyword) && !annotations.includes(keyword));
  if (other !== undefined)
    throw refusal(where, `the keyword \`${other.slice(0, 64)}\` is not supported in the format of this model's calls`);
}

const refusal = (where: string, rule: string): LorikeetError =>
  new LorikeetError("invalid_value", `\`tools\` ${where} ${rule}.`, { param: "tools" });
