/** Tools, their choice and thinking in Anthropic's form: untrusted values in, neutral ones or what is wrong out. */
import * as v from "valibot";
import { isObject, type Json } from "../../base/json.js";
import type { Tool } from "../../text/tools/types.js";
import { customField, Wrong } from "../body/custom-field.js";
import { readFunction, readTools } from "../body/functions.js";
import { describe, describeWord, type Fault, invalid, shorten } from "../body/parse.js";
import type { RequestBounds } from "../options.js";
import type { ToolChoice, ToolInput } from "../requests.js";

interface ChoiceInput {
  readonly choice: ToolChoice;
  readonly parallel: boolean;
}

export function toolEntries({ maxTools }: Pick<RequestBounds, "maxTools">) {
  return {
    tools: v.optional(
      customField((value) => readTools(value, maxTools, readTool)),
      [],
    ),
    tool_choice: v.optional(customField(readChoice)),
    thinking: v.optional(customField(readThinking)),
  };
}

type ToolFields = v.InferOutput<v.ObjectSchema<ReturnType<typeof toolEntries>, undefined>>;

export function toolInputOf({ tools, tool_choice: choice }: ToolFields): ToolInput | null {
  if (tools.length === 0) return null;
  return { tools, choice: choice?.choice ?? { kind: "auto" }, parallel: choice?.parallel ?? true };
}

/** The variables by which templates turn reasoning on and off, under the names that are in use. */
export function thinkingVariables({ thinking }: ToolFields): Readonly<Record<string, unknown>> {
  return thinking === undefined ? {} : { enable_thinking: thinking, thinking };
}

/** A choice that needs a call needs the tools to call. */
export function* toolCross(body: Json): Iterable<Fault> {
  const read = body.tool_choice === undefined ? null : readChoice(body.tool_choice);
  if (read === null || read instanceof Wrong || read.choice.kind === "none" || read.choice.kind === "auto") return;
  const tools: readonly unknown[] = Array.isArray(body.tools) ? body.tools : [];
  if (tools.length === 0) yield invalid("tool_choice", "needs `tools`");
  else if (read.choice.kind === "function") {
    const { name } = read.choice;
    const isKnown = tools.some((tool) => isObject(tool) && tool.name === name);
    if (!isKnown) yield invalid("tool_choice", "must name one of the `tools`");
  }
}

/** A tool of the client's own. Those that Anthropic runs or defines have another type. */
function readTool(value: unknown): Tool | Wrong {
  const rule = 'must be objects {"name":"...","description":"...","input_schema":{...}}';
  if (!isObject(value)) return new Wrong(rule, describe(value));
  const { type = null, input_schema: parameters, cache_control: _, eager_input_streaming: __, ...fields } = value;
  if (type !== null && type !== "custom") {
    return new Wrong("must have the type custom: other tools are not supported", `${describeWord(type)} as \`type\``);
  }
  if (!isObject(parameters)) return new Wrong(rule, `${describe(parameters)} as \`input_schema\``);
  return readFunction({ ...fields, parameters });
}

function readChoice(value: unknown): ChoiceInput | Wrong {
  const rule = 'must be {"type":"auto"}, {"type":"any"}, {"type":"none"} or {"type":"tool","name":"..."}';
  if (!isObject(value)) return new Wrong(rule, describeWord(value));
  const { type, name = null, disable_parallel_tool_use: isSingle = null, ...rest } = value;
  const [unknown] = Object.keys(rest);
  if (unknown !== undefined) return new Wrong(rule, `the field \`${shorten(unknown)}\``);
  if (isSingle !== null && typeof isSingle !== "boolean") {
    const found = `${describe(isSingle)} as \`disable_parallel_tool_use\``;
    return new Wrong("must have true or false as `disable_parallel_tool_use`", found);
  }
  const parallel = isSingle !== true;
  if (type === "tool") {
    if (typeof name !== "string" || name === "") return new Wrong(rule, `${describe(name)} as \`name\``);
    return { choice: { kind: "function", name }, parallel };
  }
  if (name !== null) return new Wrong(rule, `a \`name\` beside ${describeWord(type)}`);
  if (type === "auto" || type === "none") return { choice: { kind: type }, parallel };
  return type === "any"
    ? { choice: { kind: "required" }, parallel }
    : new Wrong(rule, `${describeWord(type)} as \`type\``);
}

/** Whether the model is asked to reason. How long it does is its own matter: a budget is a hint. */
function readThinking(value: unknown): boolean | Wrong {
  const rule = 'must be {"type":"enabled","budget_tokens":...}, {"type":"adaptive"} or {"type":"disabled"}';
  if (!isObject(value)) return new Wrong(rule, describe(value));
  const { type, budget_tokens: budget = null, display = null, ...rest } = value;
  const [unknown] = Object.keys(rest);
  if (unknown !== undefined) return new Wrong(rule, `the field \`${shorten(unknown)}\``);
  if (type !== "enabled" && type !== "adaptive" && type !== "disabled") {
    return new Wrong(rule, `${describeWord(type)} as \`type\``);
  }
  if (budget !== null && (typeof budget !== "number" || !Number.isInteger(budget) || budget < 1)) {
    return new Wrong("must have a positive integer as `budget_tokens`", describe(budget));
  }
  if (display !== null && display !== "summarized") {
    return new Wrong('must have "summarized" as `display`', describeWord(display));
  }
  return type !== "disabled";
}
