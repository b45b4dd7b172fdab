/**
 * Turns a JSON Schema into rules. Every text that they allow fits the schema; where it allows more than is ever useful, they allow less:
 * properties come in the schema's order, others only if it asks for them, and a schema with keywords of one type and no `type` is of that
 * type. A keyword that is not enforced is refused by name.
 */

import { isDeepStrictEqual } from "node:util";
import { isObject, type Json } from "../../base/json.js";
import {
  both,
  call,
  type Expression,
  either,
  except,
  nothing,
  optional,
  repeat,
  sequence,
  text,
} from "../expression.js";
import { GrammarFault, shown } from "../fault.js";
import { anything, patternOf } from "../pattern.js";
import { areDisjoint } from "./disjoint.js";
import { formats } from "./formats.js";
import { count, excluded, impliedTypes, isOfType, schemas, typesOf } from "./keyword-values.js";
import { annotations, combiners, keywordTypes, type Type, types } from "./keywords.js";
import { merged } from "./merge.js";
import { numberType } from "./number-type.js";
import { at, escapedName, fault, find } from "./pointer.js";
import {
  anyObject,
  anyString,
  anyValue,
  array,
  comma,
  key,
  literal,
  object,
  sharedRules,
  stringOf,
  stringOfLength,
} from "./text.js";

const maxSchemas = 10_000;

/** The rules of the schema, its own first. */
export function rulesOfSchema(schema: unknown): readonly Expression[] {
  return new SchemaReader(schema).read();
}

/** The rules of any JSON object. */
export function rulesOfObject(): readonly Expression[] {
  return [anyObject, ...sharedRules];
}

class SchemaReader {
  readonly #root: unknown;
  readonly #rules: Expression[] = [nothing, ...sharedRules];
  readonly #references = new Map<string, number>();
  readonly #strings = new Map<string, number>();
  #count = 0;

  constructor(root: unknown) {
    this.#root = root;
  }

  read(): readonly Expression[] {
    this.#references.set("#", 0);
    this.#rules[0] = this.#schema(this.#root, "");
    return this.#rules;
  }

  #schema(schema: unknown, path: string): Expression {
    if (++this.#count > maxSchemas) throw new GrammarFault(`holds more than ${maxSchemas} schemas`);
    if (schema === true) return anyValue;
    if (schema === false) return nothing;
    if (!isObject(schema)) throw fault(path, "must be an object or a boolean");
    this.#refuseUnknown(schema, path);
    const combiner = combiners.find((keyword) => Object.hasOwn(schema, keyword));
    return combiner === undefined ? this.#typed(schema, path) : this.#combined(schema, combiner, path);
  }

  #refuseUnknown(schema: Json, path: string): void {
    for (const keyword of Object.keys(schema)) {
      if (annotations.has(keyword) || keywordTypes.has(keyword) || keyword === "type") continue;
      if (combiners.some((known) => known === keyword) || keyword === "not") continue;
      if (keyword === "$id" && path === "") continue;
      throw fault(path, `the keyword \`${shown(keyword)}\` is not supported`);
    }
  }

  #combined(schema: Json, combiner: (typeof combiners)[number], path: string): Expression {
    const beside = Object.entries(schema).filter(
      ([keyword]) => keyword !== combiner && !annotations.has(keyword) && keyword !== "$id",
    );
    const here = `${path}/${combiner}`;
    switch (combiner) {
      case "const":
        return either(...this.#constants([schema.const], schema, path));
      case "enum": {
        if (!Array.isArray(schema.enum)) throw fault(path, "`enum` must be a list");
        return either(...this.#constants(schema.enum, schema, path));
      }
      case "$ref":
        if (beside.length === 0) return call(this.#reference(schema.$ref, path));
        return this.#merged(schema, path);
      case "allOf":
        schemas(schema.allOf, here);
        return this.#merged(schema, path);
    }
    const rest = Object.fromEntries(beside);
    const options = schemas(schema[combiner], here).map((each) =>
      beside.length === 0 ? each : at(path, () => merged([rest, each], (ref) => find(this.#root, ref, here))),
    );
    if (combiner === "oneOf") this.#requireDisjoint(options, path);
    return either(...options.map((each, index) => this.#schema(each, `${here}/${index}`)));
  }

  /** Equal ones are one rule: such a schema may lead to itself. */
  #merged(schema: Json, path: string): Expression {
    const name = `merged ${JSON.stringify(schema)}`;
    const known = this.#references.get(name);
    if (known !== undefined) return call(known);
    const rule = this.#rules.push(nothing) - 1;
    this.#references.set(name, rule);
    const whole = at(path, () => merged([schema], (ref) => find(this.#root, ref, path)));
    this.#rules[rule] = this.#schema(whole, path);
    return call(rule);
  }

  #requireDisjoint(options: readonly unknown[], path: string): void {
    for (const [index, one] of options.entries()) {
      const other = options.findIndex(
        (each, at) => at > index && !areDisjoint(one, each, (ref) => find(this.#root, ref, path)),
      );
      if (other < 0) continue;
      throw fault(
        path,
        `\`oneOf\` is supported only for schemas of different types or with different constants in a required property; ` +
          `its schemas ${index} and ${other} may allow the same value`,
      );
    }
  }

  #constants(values: readonly unknown[], schema: Json, path: string): Expression[] {
    const unsupported = Object.keys(schema).find((keyword) => keywordTypes.has(keyword) || combinesConstants(keyword));
    if (unsupported !== undefined)
      throw fault(path, `\`${unsupported}\` beside \`enum\` or \`const\` is not supported`);
    const allowed = typesOf(schema, path);
    const { values: others, types: otherTypes } = excluded(schema, path);
    return values
      .filter((value) => !allowed || allowed.some((type) => isOfType(value, type)))
      .filter((value) => !others.some((other) => isDeepStrictEqual(other, value)))
      .filter((value) => !otherTypes.some((type) => isOfType(value, type)))
      .map(literal);
  }

  /** The rule of what a reference points at. */
  #reference(ref: unknown, path: string): number {
    if (typeof ref !== "string") throw fault(path, "`$ref` must be a string");
    const known = this.#references.get(ref);
    if (known !== undefined) return known;
    const target = find(this.#root, ref, path);
    const rule = this.#rules.push(nothing) - 1;
    this.#references.set(ref, rule);
    this.#rules[rule] = this.#schema(target, ref.slice(1));
    return rule;
  }

  #typed(schema: Json, path: string): Expression {
    const declared = typesOf(schema, path);
    const isOpen = !declared && !Object.keys(schema).some((keyword) => keywordTypes.has(keyword));
    if (isOpen && schema.not === undefined) return anyValue;
    const { values, types: otherTypes } = excluded(schema, path);
    const wanted = declared ?? (isOpen ? types : impliedTypes(schema));
    const isInteger = otherTypes.includes("integer") && wanted.includes("number") && !otherTypes.includes("number");
    if (isInteger) throw fault(path, "`not` with integers is not supported beside numbers");
    return either(
      ...wanted
        .filter((type) => !otherTypes.includes(type) && !(type === "integer" && otherTypes.includes("number")))
        .map((type) => this.#ofType(type, schema, values, path)),
    );
  }

  /** `others`: values that `not` rules out. */
  #ofType(type: Type, schema: Json, others: readonly unknown[], path: string): Expression {
    const own = others.filter((value) => isOfType(value, type));
    if (own.length > 0 && !finiteTypes.includes(type) && type !== "string") {
      throw fault(
        path,
        `\`not\` with constants is supported only for strings, booleans and null, not for type ${type}`,
      );
    }
    switch (type) {
      case "null":
        return own.length > 0 ? nothing : text("null");
      case "boolean":
        return either(...[true, false].filter((value) => !own.includes(value)).map(literal));
      case "string":
        return this.#stringType(schema, own, path);
      case "integer":
      case "number":
        return numberType(type, schema, path);
      case "array":
        return this.#arrayType(schema, path);
      case "object":
        return this.#objectType(schema, path);
    }
  }

  #stringType(schema: Json, others: readonly unknown[], path: string): Expression {
    const min = count(schema, "minLength", path) ?? 0;
    const max = count(schema, "maxLength", path);
    const contents: Expression[] = [];
    if (schema.pattern !== undefined) {
      if (typeof schema.pattern !== "string") throw fault(path, "`pattern` must be a string");
      contents.push(at(`${path}/pattern`, () => patternOf(String(schema.pattern), { whole: false })));
    }
    if (schema.format !== undefined) {
      const format =
        typeof schema.format === "string" && Object.hasOwn(formats, schema.format) ? formats[schema.format] : undefined;
      if (format === undefined) {
        throw fault(
          path,
          `\`format\` may be ${Object.keys(formats).join(", ")}; found "${shown(String(schema.format))}"`,
        );
      }
      contents.push(patternOf(format, { whole: true }));
    }
    if (others.length > 0) contents.push(except(anything, either(...others.map((value) => text(String(value))))));
    const name = JSON.stringify([min, max, schema.pattern, schema.format, others]);
    if (contents.length === 0) {
      return min === 0 && max === null ? anyString : this.#rule(name, () => stringOfLength(min, max));
    }
    const counted = min === 0 && max === null ? [] : [repeat(anyCharacter, min, max)];
    return this.#rule(name, () => stringOf([...contents, ...counted].reduce(both)));
  }

  /** Strings are rules: whatever follows them, equal ones have the same masks. */
  #rule(name: string, expression: () => Expression): Expression {
    const rule = this.#strings.get(name) ?? this.#rules.push(expression()) - 1;
    this.#strings.set(name, rule);
    return call(rule);
  }

  #arrayType(schema: Json, path: string): Expression {
    if (schema.uniqueItems !== undefined && schema.uniqueItems !== false) {
      throw fault(path, "the keyword `uniqueItems` is supported only as false");
    }
    const min = count(schema, "minItems", path) ?? 0;
    const max = count(schema, "maxItems", path);
    const first = schema.prefixItems === undefined ? [] : schemas(schema.prefixItems, `${path}/prefixItems`);
    if (Array.isArray(schema.items)) throw fault(path, "`items` must be one schema; a list of them is `prefixItems`");
    const items = first
      .slice(0, max ?? first.length)
      .map((each, index) => this.#schema(each, `${path}/prefixItems/${index}`));
    const rest = schema.items === undefined ? anyValue : this.#schema(schema.items, `${path}/items`);
    return this.#array(items, rest, { min, max });
  }

  /** Lists that begin with `first`, with `rest` after. */
  #array(
    first: readonly Expression[],
    rest: Expression,
    { min, max }: { readonly min: number; readonly max: number | null },
  ): Expression {
    const empty = sequence(text("["), text("]"));
    const [least, most] = [Math.max(0, min - first.length), max === null ? null : max - first.length];
    if ((max !== null && min > max) || (isNothing(rest) && least > 0)) return nothing;
    if (max === 0 || (first.length === 0 && isNothing(rest))) return empty;
    const one = most === 0 || isNothing(rest) ? rest : this.#shared(rest, Math.max(least, most ?? 1));
    const following = sequence(comma, one);
    if (first.length === 0) {
      const items = sequence(one, repeat(following, Math.max(0, min - 1), max === null ? null : max - 1));
      return array(items, { mayBeEmpty: min === 0 });
    }
    let tail: Expression = isNothing(rest) ? sequence() : repeat(following, least, most);
    for (let index = first.length - 1; index > 0; index--) {
      const item = sequence(comma, first[index] ?? nothing, tail);
      tail = index < min ? item : optional(item);
    }
    return array(sequence(first[0] ?? nothing, tail), { mayBeEmpty: min === 0 });
  }

  /** An expression that is used many times becomes a rule. */
  #shared(item: Expression, times: number): Expression {
    if (times <= 1 || item.kind === "call") return item;
    return call(this.#rules.push(item) - 1);
  }

  #objectType(schema: Json, path: string): Expression {
    const properties = schema.properties ?? {};
    if (!isObject(properties)) throw fault(path, "`properties` must be an object");
    const required = schema.required ?? [];
    if (!Array.isArray(required) || !required.every((name) => typeof name === "string")) {
      throw fault(path, "`required` must be a list of strings");
    }
    const names = new Set([...Object.keys(properties), ...required]);
    const hasNames = schema.properties !== undefined;
    const additional = schema.additionalProperties ?? !hasNames;
    const others = this.#schema(additional, `${path}/additionalProperties`);
    this.#checkCounts(schema, { least: new Set(required).size, most: isNothing(others) ? names.size : null }, path);
    const entries = [...names].map((name) => ({
      key: key(name),
      value: Object.hasOwn(properties, name)
        ? this.#schema(properties[name], `${path}/properties/${escapedName(name)}`)
        : others,
      times: required.includes(name) ? ("once" as const) : ("optional" as const),
    }));
    if (isNothing(others)) return object(entries);
    const free =
      names.size === 0
        ? anyString
        : this.#rule(JSON.stringify([...names]), () => stringOf(except(anything, either(...[...names].map(text)))));
    return object([...entries, { key: free, value: others, times: "any" as const }]);
  }

  #checkCounts(
    schema: Json,
    { least, most }: { readonly least: number; readonly most: number | null },
    path: string,
  ): void {
    const min = count(schema, "minProperties", path) ?? 0;
    const max = count(schema, "maxProperties", path);
    if (min > least) throw fault(path, "`minProperties` is supported only up to the number of required properties");
    if (max !== null && (most === null || max < most)) {
      throw fault(path, "`maxProperties` is supported only where no more properties can be than it allows");
    }
  }
}

const finiteTypes: readonly Type[] = ["null", "boolean"];
const combinesConstants = (keyword: string): boolean =>
  combiners.some((known) => known === keyword) && keyword !== "enum" && keyword !== "const";

const anyCharacter: Expression = { kind: "chars", ranges: [[0, 0x10ffff]] };

const isNothing = (expression: Expression): boolean => expression.kind === "either" && expression.items.length === 0;
