/** The tools of a chat: untrusted values in, neutral ones or what is wrong out. */
import * as v from "valibot";
import { isObject, type Json } from "../../base/json.js";
import type { Tool } from "../../text/tools/types.js";
import { customField, Wrong } from "../body/custom-field.js";
import { flag } from "../body/field-kinds.js";
import {
  type AskedCalls,
  allowedOf,
  namesIn,
  readAllowedTools,
  readFunction,
  readTools,
  unknownField,
} from "../body/functions.js";
import { describe, describeWord, type Fault, invalid } from "../body/parse.js";
import type { RequestBounds } from "../options.js";
import type { ToolInput } from "../requests.js";

export function toolEntries({ maxTools }: Pick<RequestBounds, "maxTools">) {
  return {
    tools: v.optional(
      customField((value) => readTools(value, maxTools, readTool)),
      [],
    ),
    tool_choice: v.optional(customField(readChoice)),
    parallel_tool_calls: v.optional(flag, true),
  };
}

type ToolFields = v.InferOutput<v.ObjectSchema<ReturnType<typeof toolEntries>, undefined>>;

export function toolInputOf({ tools, tool_choice, parallel_tool_calls }: ToolFields): ToolInput | null {
  if (tools.length === 0) return null;
  return {
    tools: allowedOf(tools, tool_choice),
    choice: tool_choice?.choice ?? { kind: "auto" },
    parallel: parallel_tool_calls,
  };
}

/** What must hold between the parameters. */
export function* toolCross(body: Json): Iterable<Fault> {
  const choice = body.tool_choice;
  if (choice === undefined || choice === "none" || choice === "auto") return;
  const tools: readonly unknown[] = Array.isArray(body.tools) ? body.tools : [];
  if (tools.length === 0) yield invalid("tool_choice", "needs `tools`");
  const read = readChoice(choice);
  if (read instanceof Wrong || tools.length === 0) return;
  const isKnown = (name: string): boolean =>
    tools.some((tool) => isObject(tool) && isObject(tool.function) && tool.function.name === name);
  if (!namesIn(read).every(isKnown)) yield invalid("tool_choice", "must name one of the `tools`");
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

function readChoice(value: unknown): AskedCalls | Wrong {
  if (value === "auto" || value === "none" || value === "required") return { choice: { kind: value }, allowed: null };
  if (!isObject(value)) return new Wrong(choiceRule, describeWord(value));
  const { type, allowed_tools, ...rest } = value;
  if (type === "allowed_tools" && isObject(allowed_tools)) {
    return unknownField(rest) ?? readAllowedTools(allowed_tools, readName);
  }
  const name = readName(value);
  return name instanceof Wrong ? name : { choice: { kind: "function", name }, allowed: null };
}

const choiceRule =
  'must be auto, none, required, {"type":"function","function":{"name":"..."}} or {"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":[...]}}';

/** The name in OpenAI's object around a function. */
function readName(value: unknown): string | Wrong {
  if (!isObject(value)) return new Wrong(choiceRule, describe(value));
  const { type, function: named, ...rest } = value;
  const unknown = unknownField(rest);
  if (type !== "function" || unknown) return new Wrong(choiceRule, `${describeWord(type)} as \`type\``);
  if (isObject(named) && typeof named.name === "string") return named.name;
  const found = `${describe(isObject(named) ? named.name : named)} as ${isObject(named) ? "`name`" : "`function`"}`;
  return new Wrong(choiceRule, found);
}
