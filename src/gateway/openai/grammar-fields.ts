/** The parameters that constrain an answer to a grammar: OpenAI's `response_format`, vLLM's two ways, and llama.cpp's. */
import * as v from "valibot";
import { isObject, type Json } from "../../base/json.js";
import type { GrammarSource } from "../../grammar/source.js";
import { customField, Wrong } from "../body/custom-field.js";
import { faultInside, parsed } from "../body/json-value.js";
import { describe, describeWord, type Fault, invalid, shorten } from "../body/parse.js";

const maxChoices = 4096;

/** Entries of a schema; each parameter is one grammar, or none where it asks for plain text. */
export const grammarEntries = {
  response_format: grammarField(readFormat),
  structured_outputs: grammarField(readStructured),
  guided_json: grammarField((value) => readSchema(value, "guided_json")),
  guided_regex: grammarField((value) => readPattern(value, "guided_regex")),
  guided_choice: grammarField((value) => readChoice(value, "guided_choice")),
  guided_grammar: grammarField((value) => readGbnf(value, "guided_grammar")),
  grammar: grammarField((value) => (value === "" ? null : readGbnf(value, "grammar"))),
  json_schema: grammarField((value) => readSchema(value, "json_schema")),
};

type GrammarFields = { readonly [Name in keyof typeof grammarEntries]?: GrammarSource | null | undefined };

export function grammarOf(fields: GrammarFields): GrammarSource | null {
  const names = Object.keys(grammarEntries) as (keyof GrammarFields)[];
  for (const name of names) if (fields[name]) return fields[name];
  return null;
}

/** At most one grammar, and no other parameter that could leave no token to choose from. */
export function* grammarCross(body: Json): Iterable<Fault> {
  const named = Object.keys(grammarEntries).filter((name) => body[name] !== undefined && !isNone(body[name]));
  const [first, second] = named;
  if (first === undefined) return;
  if (second !== undefined) yield invalid(first, `and \`${second}\` must not both be given: an answer has one grammar`);
  if (body.allowed_token_ids !== undefined)
    yield invalid("allowed_token_ids", `and \`${first}\` must not both be given`);
}

const isNone = (value: unknown): boolean => value === "" || (isObject(value) && value.type === "text");

/** A schema for a parameter that is a grammar. */
export function grammarField(read: (value: unknown) => GrammarSource | null | Wrong) {
  return v.optional(customField(read));
}

/** The other fields of each format; the schema of `json_object` is llama.cpp's. */
const formatKeys: ReadonlyMap<unknown, readonly string[]> = new Map([
  ["json_schema", ["json_schema"]],
  ["json_object", ["schema"]],
]);

function readFormat(value: unknown): GrammarSource | null | Wrong {
  const rule =
    'must be {"type":"text"}, {"type":"json_object"} or {"type":"json_schema","json_schema":{"name":"...","schema":{...}}}';
  if (!isObject(value)) return new Wrong(rule, describe(value));
  const unknown = unknownKey(value, ["type", ...(formatKeys.get(value.type) ?? [])]);
  if (unknown) return unknown;
  if (value.type === "text") return null;
  if (value.type === "json_object") {
    if (isObject(value.schema)) return readSchema(value.schema, "response_format.schema");
    return { kind: "object", param: "response_format" };
  }
  if (value.type !== "json_schema") return new Wrong(rule, `${describeWord(value.type)} as \`type\``);
  const format = value.json_schema;
  if (!isObject(format)) return new Wrong(rule, `${describe(format)} as \`json_schema\``);
  return readNamedSchema(format, "json_schema.", "response_format.json_schema.schema");
}

/** A schema with its name. `inside` begins the names of its fields in rules. */
function readNamedSchema(format: Json, inside: string, param: string): GrammarSource | Wrong {
  const unknown = unknownKey(format, ["name", "description", "schema", "strict"]);
  if (unknown) return unknown;
  const { name, description, strict, schema } = format;
  if (typeof name !== "string" || !/^[a-zA-Z0-9_-]{1,64}$/.test(name)) {
    return new Wrong(
      `must have a \`${inside}name\` of 1 to 64 letters, digits, \`_\` and \`-\``,
      `${describe(name)} as \`name\``,
    );
  }
  if (description !== undefined && description !== null && typeof description !== "string") {
    return new Wrong(`must have a string as \`${inside}description\``, describe(description));
  }
  if (strict !== undefined && strict !== null && typeof strict !== "boolean") {
    return new Wrong(`must have true or false as \`${inside}strict\``, describe(strict));
  }
  if (!isObject(schema)) {
    return new Wrong(`must have an object as \`${inside}schema\``, `${describe(schema)} as \`schema\``);
  }
  return { kind: "schema", schema, param };
}

/** `text.format` of the Responses API: the formats of `response_format`, with the schema beside its name. */
export function readTextFormat(value: unknown): GrammarSource | null | Wrong {
  const rule = 'must be {"type":"text"}, {"type":"json_object"} or {"type":"json_schema","name":"...","schema":{...}}';
  if (!isObject(value)) return new Wrong(rule, describe(value));
  const { type, ...rest } = value;
  if (type === "json_schema") return readNamedSchema(rest, "", "text.format.schema");
  if (type !== "text" && type !== "json_object") return new Wrong(rule, `${describeWord(type)} as \`type\``);
  return unknownKey(rest, []) ?? (type === "text" ? null : { kind: "object", param: "text.format" });
}

function readStructured(value: unknown): GrammarSource | null | Wrong {
  const rule = "must be an object with one of `json`, `json_object`, `regex`, `choice` and `grammar`";
  if (!isObject(value)) return new Wrong(rule, describe(value));
  const given = Object.entries(value).filter(([, item]) => item !== null && item !== undefined);
  const unknown = unknownKey(Object.fromEntries(given), ["json", "json_object", "regex", "choice", "grammar"]);
  if (unknown) return unknown;
  const [only] = given;
  if (only === undefined || given.length > 1) return new Wrong(rule, `${given.length} of them`);
  const [kind, item] = only;
  const param = `structured_outputs.${kind}`;
  if (kind === "json") return readSchema(item, param);
  if (kind === "regex") return readPattern(item, param);
  if (kind === "choice") return readChoice(item, param);
  if (kind === "grammar") return readGbnf(item, param);
  return item === true ? { kind: "object", param } : new Wrong("must have true as `json_object`", describe(item));
}

/** A schema, as an object or as the JSON text of one. */
export function readSchema(value: unknown, param: string): GrammarSource | Wrong {
  const schema = typeof value === "string" ? parsed(value) : value;
  if (!isObject(schema)) return new Wrong("must be a JSON Schema, as an object or as its JSON text", describe(value));
  return faultInside(schema) ?? { kind: "schema", schema, param };
}

export function readPattern(value: unknown, param: string): GrammarSource | Wrong {
  if (typeof value === "string" && value !== "") return { kind: "pattern", pattern: value, param };
  return new Wrong("must be a regular expression, a string that is not empty", describe(value));
}

function readChoice(value: unknown, param: string): GrammarSource | Wrong {
  const isList = Array.isArray(value) && value.length > 0 && value.length <= maxChoices;
  if (isList && value.every((item): item is string => typeof item === "string" && item !== "")) {
    return { kind: "choice", choices: value, param };
  }
  return new Wrong(`must be a list of 1 to ${maxChoices} strings, none of them empty`, describe(value));
}

function readGbnf(value: unknown, param: string): GrammarSource | Wrong {
  if (typeof value === "string" && value !== "") return { kind: "gbnf", grammar: value, param };
  return new Wrong("must be a grammar in GBNF, a string that is not empty", describe(value));
}

function unknownKey(object: Json, allowed: readonly string[]): Wrong | null {
  const unknown = Object.keys(object).find((name) => !allowed.includes(name) && object[name] !== null);
  if (unknown === undefined) return null;
  return new Wrong(`has the field \`${shorten(unknown)}\`, which is not supported`, describe(object[unknown]));
}
