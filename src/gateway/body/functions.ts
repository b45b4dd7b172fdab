/** Functions that a model may call, as protocols list them. */
import { isObject, type Json } from "../../base/json.js";
import type { Tool } from "../../text/tools/types.js";
import type { ToolChoice } from "../requests.js";
import { Wrong } from "./custom-field.js";
import { describe, describeWord, shorten } from "./parse.js";

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

/** Which calls a request asks for, and of which functions; null: of all. */
export interface AskedCalls {
  readonly choice: ToolChoice;
  readonly allowed: readonly string[] | null;
}

/** OpenAI's `allowed_tools`: a mode, and the functions that may be called. `nameOf` reads a protocol's own object. */
export function readAllowedTools(fields: Json, nameOf: (tool: unknown) => string | Wrong): AskedCalls | Wrong {
  const { mode, tools, ...rest } = fields;
  const unknown = unknownField(rest);
  if (unknown) return unknown;
  if (mode !== "auto" && mode !== "required") {
    return new Wrong("must have auto or required as `mode` of its allowed tools", describeWord(mode));
  }
  if (!Array.isArray(tools) || tools.length === 0) {
    return new Wrong("must have a list of at least one function as `tools` of its allowed tools", describe(tools));
  }
  const allowed: string[] = [];
  for (const tool of tools) {
    const name = nameOf(tool);
    if (name instanceof Wrong) return name;
    allowed.push(name);
  }
  return { choice: { kind: mode }, allowed };
}

/** The functions that a model is shown. */
export function allowedOf(tools: readonly Tool[], asked: AskedCalls | undefined): readonly Tool[] {
  const allowed = asked?.allowed ?? null;
  return allowed === null ? tools : tools.filter(({ name }) => allowed.includes(name));
}

/** The names that a choice speaks of. */
export function namesIn({ choice, allowed }: AskedCalls): readonly string[] {
  return allowed ?? (choice.kind === "function" ? [choice.name] : []);
}

const isAbsent = (value: unknown): boolean => value === undefined || value === null;

/** A field that is left and has a value. */
export function unknownField(fields: Json): Wrong | null {
  const found = Object.entries(fields).find(([, value]) => !isAbsent(value));
  if (!found) return null;
  return new Wrong(`have the field \`${shorten(found[0])}\`, which is not supported`, describe(found[1]));
}
