/** Functions that a model may call, as protocols list them. */
import { isObject, type Json } from "../../base/json.js";
import type { Tool } from "../../text/tools/types.js";
import { Wrong } from "./custom-field.js";
import { describe, shorten } from "./parse.js";

const namePattern = /^[a-zA-Z0-9_.-]{1,64}$/;

/** A list of functions of different names; `readTool` reads a protocol's own object. */
export function readTools(
  value: unknown,
  maxTools: number,
  readTool: (value: unknown) => Tool | Wrong,
): readonly Tool[] | Wrong {
  if (!Array.isArray(value) || value.length > maxTools) {
    return new Wrong(`must be a list of up to ${maxTools} tools`, describe(value));
  }
  const tools: Tool[] = [];
  for (const [index, item] of value.entries()) {
    const tool = readTool(item);
    if (tool instanceof Wrong) return new Wrong(tool.rule, `${tool.found} at position ${index}`);
    if (tools.some(({ name }) => name === tool.name)) {
      return new Wrong("must not have two functions of one name", `a second one at position ${index}`);
    }
    tools.push(tool);
  }
  return tools;
}

/** The fields of one function. */
export function readFunction(fields: Json): Tool | Wrong {
  const { name, description, parameters, strict, ...rest } = fields;
  const unknown = unknownField(rest);
  if (unknown) return unknown;
  if (typeof name !== "string" || !namePattern.test(name)) {
    return new Wrong("must have names of 1 to 64 letters, digits, `_`, `.` and `-`", `${describe(name)} as \`name\``);
  }
  if (!isAbsent(description) && typeof description !== "string") {
    return new Wrong("must have strings as `description`", `${describe(description)} as \`description\``);
  }
  if (!isAbsent(parameters) && !isObject(parameters)) {
    return new Wrong("must have JSON Schemas as `parameters`", `${describe(parameters)} as \`parameters\``);
  }
  if (!isAbsent(strict) && typeof strict !== "boolean") {
    return new Wrong("must have true or false as `strict`", `${describe(strict)} as \`strict\``);
  }
  return {
    name,
    description: typeof description === "string" ? description : null,
    parameters: isObject(parameters) ? parameters : null,
    strict: strict === true,
  };
}

const isAbsent = (value: unknown): boolean => value === undefined || value === null;

/** A field that is left and has a value. */
export function unknownField(fields: Json): Wrong | null {
  const found = Object.entries(fields).find(([, value]) => !isAbsent(value));
  if (!found) return null;
  return new Wrong(`have the field \`${shorten(found[0])}\`, which is not supported`, describe(found[1]));
}
