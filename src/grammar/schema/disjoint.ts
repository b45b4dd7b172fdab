/** Whether no value can match two schemas at once, as far as their types and constants show. */
import { isObject, type Json } from "../../base/json.js";
import { GrammarFault } from "../fault.js";
import { types } from "./keywords.js";
import { merged } from "./merge.js";

/** `resolve` follows a `$ref`. */
export function areDisjoint(a: unknown, b: unknown, resolve: (ref: string) => unknown): boolean {
  const [left, right] = [follow(a, resolve), follow(b, resolve)];
  if (left === false || right === false) return true;
  if (!left || !right) return false;
  const [leftTypes, rightTypes] = [typesOf(left), typesOf(right)];
  if (![...leftTypes].some((type) => rightTypes.has(type))) return true;
  const [leftValues, rightValues] = [valuesOf(left), valuesOf(right)];
  if (leftValues && rightValues) return ![...leftValues].some((value) => rightValues.has(value));
  if (leftTypes.size !== 1 || rightTypes.size !== 1 || !leftTypes.has("object")) return false;
  return requiredOf(left).some((name) => {
    if (!requiredOf(right).includes(name)) return false;
    const [mine, theirs] = [propertyOf(left, name), propertyOf(right, name)];
    const [own, other] = [follow(mine, resolve), follow(theirs, resolve)];
    const [ownValues, otherValues] = [own && valuesOf(own), other && valuesOf(other)];
    if (!ownValues || !otherValues) return false;
    return ![...ownValues].some((value) => otherValues.has(value));
  });
}

/** Without references and `allOf`; false where no value matches, null where nothing is known. */
function follow(schema: unknown, resolve: (ref: string) => unknown): Json | false | null {
  try {
    const whole = merged([schema], resolve);
    return isObject(whole) || whole === false ? whole : null;
  } catch (error) {
    if (error instanceof GrammarFault) return null;
    throw error;
  }
}

/** Integers count as numbers. */
function typesOf(schema: Json): Set<string> {
  const values = constantsOf(schema);
  const declared = values?.map(typeOf) ?? (schema.type === undefined ? types : [schema.type].flat());
  return new Set(declared.map((type) => (type === "integer" ? "number" : String(type))));
}

function typeOf(value: unknown): string {
  if (value === null) return "null";
  return Array.isArray(value) ? "array" : typeof value;
}

/** The only values, where they are none that have parts. */
function valuesOf(schema: Json): Set<unknown> | null {
  const values = constantsOf(schema);
  return values?.every((value) => value === null || typeof value !== "object") ? new Set(values) : null;
}

function constantsOf(schema: Json): readonly unknown[] | null {
  if (Object.hasOwn(schema, "const")) return [schema.const];
  return Array.isArray(schema.enum) ? schema.enum : null;
}

const requiredOf = ({ required }: Json): readonly unknown[] => (Array.isArray(required) ? required : []);

function propertyOf({ properties }: Json, name: unknown): unknown {
  return isObject(properties) && typeof name === "string" && Object.hasOwn(properties, name) ? properties[name] : null;
}
