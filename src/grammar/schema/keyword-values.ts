/** What the keywords of a schema say, checked. A value that a keyword may not have is a GrammarFault. */

import { isObject, type Json } from "../../base/json.js";
import { annotations, keywordTypes, type Type, types } from "./keywords.js";
import { fault } from "./pointer.js";

const maxCount = 65_536;

/** What `not` rules out. */
export function excluded(
  { not }: Json,
  path: string,
): { readonly values: readonly unknown[]; readonly types: readonly Type[] } {
  if (not === undefined) return { values: [], types: [] };
  const keywords = isObject(not) ? Object.keys(not).filter((keyword) => !annotations.has(keyword)) : [];
  if (isObject(not) && keywords.length === 1) {
    if (keywords[0] === "const") return { values: [not.const], types: [] };
    if (keywords[0] === "enum" && Array.isArray(not.enum)) return { values: not.enum, types: [] };
    if (keywords[0] === "type") return { values: [], types: typesOf(not, `${path}/not`) ?? [] };
  }
  throw fault(path, "`not` is supported only with one of `const`, `enum` and `type`");
}

/** null where the keyword is absent. */
export function count(schema: Json, keyword: string, path: string): number | null {
  const value = schema[keyword];
  if (value === undefined) return null;
  if (typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= maxCount) return value;
  throw fault(path, `\`${keyword}\` must be an integer from 0 to ${maxCount}`);
}

export function schemas(value: unknown, path: string): readonly unknown[] {
  if (Array.isArray(value) && value.length > 0) return value;
  throw fault(path, "must be a list of schemas");
}

/** The declared types; null where there are none. A number includes the integers. */
export function typesOf(schema: Json, path: string): readonly Type[] | null {
  if (schema.type === undefined) return null;
  const declared = [...new Set([schema.type].flat())];
  const known = types.filter((type) => declared.includes(type));
  if (known.length === declared.length && known.length > 0) {
    return known.filter((type) => type !== "integer" || !known.includes("number"));
  }
  throw fault(path, `\`type\` must be one or several of ${types.join(", ")}`);
}

/** The types that the keywords of a schema without `type` are about. */
export function impliedTypes(schema: Json): readonly Type[] {
  const implied = new Set(Object.keys(schema).flatMap((keyword) => keywordTypes.get(keyword) ?? []));
  return types.filter((type) => implied.has(type) && type !== "integer");
}

export function isOfType(value: unknown, type: Type): boolean {
  switch (type) {
    case "null":
      return value === null;
    case "array":
      return Array.isArray(value);
    case "object":
      return isObject(value);
    case "integer":
      return Number.isInteger(value);
    default:
      return typeof value === type;
  }
}
