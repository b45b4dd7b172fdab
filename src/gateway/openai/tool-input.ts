/** The tools of a chat: untrusted values in, neutral ones or what is wrong out. */
import * as v from "valibot";
import { isObject, type Json } from "../../base/json.js";
import type { Tool } from "../../text/tools/types.js";
import { customField, Wrong } from "../body/custom-field.js";
import { flag } from "../body/field-kinds.js";
import { describe, describeWord, type Fault, invalid, shorten } from "../body/parse.js";
import type { RequestBounds } from "../options.js";
import type { ToolChoice, ToolInput } from "../requests.js";

const namePattern = /^[a-zA-Z0-9_.-]{1,64}$/;

export function toolEntries({ maxTools }: Pick<RequestBounds, "maxTools">) {
  return {
    tools: v.optional(
      customField((value) => readTools(value, maxTools)),
      [],
    ),
    tool_choice: v.optional(customField(readChoice)),
    parallel_tool_calls: v.optional(flag, true),
  };
}

type ToolFields = v.InferOutput<v.ObjectSchema<ReturnType<typeof toolEntries>, undefined>>;

export function toolInputOf({ tools, tool_choice, parallel_tool_calls }: ToolFields): ToolInput | null {
  if (tools.length === 0) return null;
  return { tools, choice: tool_choice ?? { kind: "auto" }, parallel: parallel_tool_calls };
}

/** What must hold between the parameters. */
export function* toolCross(body: Json): Iterable<Fault> {
  const choice = body.tool_choice;
  if (choice === undefined || choice === "none" || choice === "auto") return;
  const tools: readonly unknown[] = Array.isArray(body.tools) ? body.tools : [];
  if (tools.length === 0) yield invalid("tool_choice", "needs `tools`");
  const read = readChoice(choice);
  if (read instanceof Wrong || read.kind !== "function" || tools.length === 0) return;
  const isKnown = tools.some((tool) => isObject(tool) && isObject(tool.function) && tool.function.name === read.name);
  if (!isKnown) yield invalid("tool_choice", "must name one of the `tools`");
}

function readTools(value: unknown, maxTools: number): readonly Tool[] | Wrong {
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

/** OpenAI's object around a function. */
function readTool(value: unknown): Tool | Wrong {
  const rule = 'must be objects {"type":"function","function":{"name":"...","description":"...","parameters":{...}}}';
  if (!isObject(value)) return new Wrong(rule, describe(value));
  const { type, function: fields, ...rest } = value;
  if (type !== "function") return new Wrong(rule, `${describeWord(type)} as \`type\``);
  if (!isObject(fields)) return new Wrong(rule, `${describe(fields)} as \`function\``);
  return unknownField(rest) ?? readFunction(fields);
}

/** The fields of a function, which other protocols give without the object around it. */
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

function unknownField(fields: Json): Wrong | null {
  const found = Object.entries(fields).find(([, value]) => !isAbsent(value));
  if (!found) return null;
  return new Wrong(`have the field \`${shorten(found[0])}\`, which is not supported`, describe(found[1]));
}

function readChoice(value: unknown): ToolChoice | Wrong {
  const rule = 'must be auto, none, required or {"type":"function","function":{"name":"..."}}';
  if (value === "auto" || value === "none" || value === "required") return { kind: value };
  if (!isObject(value)) return new Wrong(rule, describeWord(value));
  const { type, function: named, ...rest } = value;
  const unknown = unknownField(rest);
  if (type !== "function" || unknown) return new Wrong(rule, `${describeWord(type)} as \`type\``);
  if (!isObject(named) || typeof named.name !== "string") {
    return new Wrong(
      rule,
      `${describe(isObject(named) ? named.name : named)} as ${isObject(named) ? "`name`" : "`function`"}`,
    );
  }
  return { kind: "function", name: named.name };
}
