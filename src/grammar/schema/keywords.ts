/** JSON Schema's keywords: those that change nothing, and those that are enforced, by the type they are about. */

export const types = ["null", "boolean", "object", "array", "number", "integer", "string"] as const;
export type Type = (typeof types)[number];

export const annotations: ReadonlySet<string> = new Set([
  ...["title", "description", "default", "examples", "example", "deprecated", "readOnly", "writeOnly"],
  ...["$comment", "$schema", "$defs", "definitions"],
]);

/** Keywords that are about values of some types and say nothing about the others. */
export const keywordTypes: ReadonlyMap<string, readonly Type[]> = new Map<string, readonly Type[]>([
  ...["properties", "required", "additionalProperties", "minProperties", "maxProperties"].map(
    (keyword) => [keyword, ["object"]] as const,
  ),
  ...["items", "prefixItems", "minItems", "maxItems", "uniqueItems"].map((keyword) => [keyword, ["array"]] as const),
  ...["minLength", "maxLength", "pattern", "format"].map((keyword) => [keyword, ["string"]] as const),
  ...["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"].map(
    (keyword) => [keyword, ["integer", "number"]] as const,
  ),
]);

/** Keywords that decide how a schema is read; keywords of a type beside one of them are merged with it. The first present counts. */
export const combiners = ["$ref", "enum", "const", "anyOf", "oneOf", "allOf"] as const;
