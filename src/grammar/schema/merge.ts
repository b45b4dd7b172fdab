/**
 * Schemas that must all hold, as one: `allOf`, and what a schema says beside `$ref`, `anyOf` and `oneOf`. What cannot be said in one schema
 * is refused by name.
 */
import { isDeepStrictEqual } from "node:util";
import { isObject, type Json } from "../../base/json.js";
import { GrammarFault, shown } from "../fault.js";
import { annotations } from "./keywords.js";

const maxDepth = 32;
const larger = (a: number, b: number): number => Math.max(a, b);
const smaller = (a: number, b: number): number => Math.min(a, b);
const all = (a: unknown, b: unknown): unknown => ({ allOf: [a, b] });
const withoutAnnotations = (schema: Json): Json =>
  Object.fromEntries(Object.entries(schema).filter(([keyword]) => !annotations.has(keyword)));

/** Merges two values of a keyword into one that enforces both. */
const rules: Readonly<Record<string, (a: unknown, b: unknown) => unknown>> = {
  type: (a, b) => commonTypes([a].flat(), [b].flat()),
  enum: (a, b) => (Array.isArray(a) && Array.isArray(b) ? a.filter((value) => hasEqual(b, value)) : undefined),
  required: (a, b) => (Array.isArray(a) && Array.isArray(b) ? [...new Set([...a, ...b])] : undefined),
  items: all,
  propertyNames: all,
  minimum: numbers(larger),
  exclusiveMinimum: numbers(larger),
  minLength: numbers(larger),
  minItems: numbers(larger),
  minProperties: numbers(larger),
  maximum: numbers(smaller),
  exclusiveMaximum: numbers(smaller),
  maxLength: numbers(smaller),
  maxItems: numbers(smaller),
  maxProperties: numbers(smaller),
};

/** One schema for all of them; `resolve` follows a `$ref`. Throws GrammarFault. */
export function merged(schemas: readonly unknown[], resolve: (ref: string) => unknown, depth = 0): unknown {
  if (depth > maxDepth) throw new GrammarFault(`\`allOf\` and \`$ref\` follow one another more than ${maxDepth} deep`);
  return schemas.map((schema) => flat(schema, resolve, depth)).reduce(both, true);
}

/** Without `$ref` and `allOf` at its top. */
function flat(schema: unknown, resolve: (ref: string) => unknown, depth: number): unknown {
  if (!isObject(schema)) return schema;
  const { $ref, allOf, ...rest } = withoutAnnotations(schema);
  const members = [...(typeof $ref === "string" ? [resolve($ref)] : []), ...(Array.isArray(allOf) ? allOf : [])];
  return members.length === 0 ? rest : merged([rest, ...members], resolve, depth + 1);
}

function both(a: unknown, b: unknown): unknown {
  if (a === true || b === false) return b;
  if (b === true || a === false) return a;
  if (!isObject(a) || !isObject(b)) throw new GrammarFault("`allOf` must hold schemas");
  const [left, right] = [asEnum(a), asEnum(b)];
  const schema: Record<string, unknown> = {};
  for (const keyword of new Set([...Object.keys(left), ...Object.keys(right)])) {
    if (keyword === "properties" || keyword === "additionalProperties") continue;
    schema[keyword] = bothValues(keyword, left, right);
  }
  if (Array.isArray(schema.type) && schema.type.length === 0) return false;
  return { ...schema, ...objectsOf(left, right) };
}

function bothValues(keyword: string, left: Json, right: Json): unknown {
  const [mine, theirs] = [left[keyword], right[keyword]];
  if (mine === undefined || theirs === undefined) return mine ?? theirs;
  if (isDeepStrictEqual(mine, theirs)) return mine;
  const value = Object.hasOwn(rules, keyword) ? rules[keyword]?.(mine, theirs) : undefined;
  if (value === undefined)
    throw new GrammarFault(`\`${shown(keyword)}\` is not supported in two schemas that must both hold`);
  return value;
}

/** A property that one of them does not name is one of its additional properties. */
function objectsOf(left: Json, right: Json): Json {
  const found: Record<string, unknown> = {};
  const additional = [left, right].flatMap(({ additionalProperties }) => additionalProperties ?? []);
  if (additional.length > 0)
    found.additionalProperties = additional.length === 1 ? additional[0] : { allOf: additional };
  const [mine, theirs] = [propertiesOf(left), propertiesOf(right)];
  if (mine === null && theirs === null) return found;
  const names = new Set([...Object.keys(mine ?? {}), ...Object.keys(theirs ?? {})]);
  const properties = Array.from(names, (name): [string, unknown] => {
    const parts = [
      [mine, left],
      [theirs, right],
    ].flatMap(([own, schema]) => (own && Object.hasOwn(own, name) ? own[name] : schema?.additionalProperties) ?? []);
    const [one, other] = parts;
    return [name, parts.length === 1 || isDeepStrictEqual(one, other) ? one : { allOf: parts }];
  });
  found.properties = Object.fromEntries(properties);
  return found;
}

const propertiesOf = ({ properties }: Json): Json | null => (isObject(properties) ? properties : null);

function asEnum(schema: Json): Json {
  if (!Object.hasOwn(schema, "const")) return schema;
  const { const: value, ...rest } = schema;
  return Object.hasOwn(rest, "enum") ? (both({ enum: [value] }, rest) as Json) : { ...rest, enum: [value] };
}

/** Integers are numbers. */
function commonTypes(a: readonly unknown[], b: readonly unknown[]): readonly unknown[] {
  const isIn = (type: unknown, types: readonly unknown[]): boolean =>
    types.includes(type) || (type === "integer" && types.includes("number"));
  return [...new Set([...a.filter((type) => isIn(type, b)), ...b.filter((type) => isIn(type, a))])];
}

const hasEqual = (values: readonly unknown[], value: unknown): boolean =>
  values.some((each) => isDeepStrictEqual(each, value));

function numbers(choose: (a: number, b: number) => number): (a: unknown, b: unknown) => unknown {
  return (a, b) => (typeof a === "number" && typeof b === "number" ? choose(a, b) : undefined);
}
