/** The tools of a response, functions without OpenAI's object around them: untrusted values in, neutral ones or what is wrong out. */
import * as v from "valibot";
import { isObject, type Json } from "../../base/json.js";
import type { Tool } from "../../text/tools/types.js";
import { customField, Wrong } from "../body/custom-field.js";
import { flag } from "../body/field-kinds.js";
import { type AskedCalls, allowedOf, namesIn, readAllowedTools, readFunction, readTools } from "../body/functions.js";
import { describe, describeWord, type Fault, invalid } from "../body/parse.js";
import type { RequestBounds } from "../options.js";
import type { ToolInput } from "../requests.js";

/** Values that are repeated in the response as they were sent. */
interface Sent<Value, Read> {
  readonly sent: Value;
  readonly read: Read;
}

export function toolEntries({ maxTools }: Pick<RequestBounds, "maxTools">) {
  return {
    tools: v.optional(
      customField((value) => readSentTools(value, maxTools)),
      [],
    ),
    tool_choice: v.optional(customField(readSentChoice)),
    parallel_tool_calls: v.optional(flag, true),
  };
}

type ToolFields = v.InferOutput<v.ObjectSchema<ReturnType<typeof toolEntries>, undefined>>;

export function toolInputOf({ tools, tool_choice, parallel_tool_calls }: ToolFields): ToolInput | null {
  if (tools.read.length === 0) return null;
  return {
    tools: allowedOf(tools.read, tool_choice?.read),
    choice: tool_choice?.read.choice ?? { kind: "auto" },
    parallel: parallel_tool_calls,
  };
}

/** What must hold between the parameters. */
export function* toolCross({ tools, tool_choice }: Json): Iterable<Fault> {
  if (tool_choice === undefined || tool_choice === "none" || tool_choice === "auto") return;
  const names = Array.isArray(tools) ? tools.map((tool: unknown) => (isObject(tool) ? tool.name : null)) : [];
  if (names.length === 0) yield invalid("tool_choice", "needs `tools`");
  const read = readChoice(tool_choice);
  if (names.length === 0 || read instanceof Wrong) return;
  if (!namesIn(read).every((name) => names.includes(name))) {
    yield invalid("tool_choice", "must name one of the `tools`");
  }
}

function readSentTools(value: unknown, maxTools: number): Sent<readonly unknown[], readonly Tool[]> | Wrong {
  const read = readTools(value, maxTools, readTool);
  if (read instanceof Wrong) return read;
  // A response always says how its functions are held.
  return { sent: (value as readonly object[]).map((tool) => ({ parameters: null, strict: false, ...tool })), read };
}

function readTool(value: unknown): Tool | Wrong {
  const rule = 'must be objects {"type":"function","name":"...","description":"...","parameters":{...}}';
  if (!isObject(value)) return new Wrong(rule, describe(value));
  const { type, ...fields } = value;
  return type === "function" ? readFunction(fields) : new Wrong(rule, `${describeWord(type)} as \`type\``);
}

function readSentChoice(sent: unknown): Sent<unknown, AskedCalls> | Wrong {
  const read = readChoice(sent);
  return read instanceof Wrong ? read : { sent, read };
}

function readChoice(value: unknown): AskedCalls | Wrong {
  if (value === "auto" || value === "none" || value === "required") return { choice: { kind: value }, allowed: null };
  if (!isObject(value)) return new Wrong(choiceRule, describeWord(value));
  const { type, ...fields } = value;
  if (type === "allowed_tools") return readAllowedTools(fields, readName);
  const name = readName(value);
  return name instanceof Wrong ? name : { choice: { kind: "function", name }, allowed: null };
}

const choiceRule =
  'must be auto, none, required, {"type":"function","name":"..."} or {"type":"allowed_tools","mode":"auto","tools":[...]}';

function readName(value: unknown): string | Wrong {
  if (!isObject(value)) return new Wrong(choiceRule, describe(value));
  const { type, name, ...rest } = value;
  if (type !== "function" || Object.keys(rest).length > 0) {
    return new Wrong(choiceRule, `${describeWord(type)} as \`type\``);
  }
  return typeof name === "string" ? name : new Wrong(choiceRule, `${describe(name)} as \`name\``);
}
