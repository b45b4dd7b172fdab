/** The tools of a chat row, as a list of OpenAI's objects or as its JSON text. */
import { isObject, type Json } from "../../base/json.js";
import type { Tool, ToolCall } from "../../text/tools/types.js";

/** The tools, or the rule that they break, as the rest of a sentence after the field's name. */
export function readTools(value: unknown): Tool[] | string {
  const list = typeof value === "string" ? jsonIn(value) : value;
  if (!Array.isArray(list)) return "must be a list of functions";
  const tools: Tool[] = [];
  for (const [i, item] of list.entries()) {
    const tool = readTool(item);
    if (tool === null)
      return `has an item ${i + 1} that is not {"type":"function","function":{"name":"...","parameters":{...}}}`;
    tools.push(tool);
  }
  return tools;
}

/** Exporters write null for what a function does not have. */
function readTool(value: unknown): Tool | null {
  if (!isObject(value)) return null;
  const { name, description, parameters }: Json = isObject(value.function) ? value.function : value;
  if (typeof name !== "string" || name === "") return null;
  return {
    name,
    description: typeof description === "string" ? description : null,
    parameters: isObject(parameters) ? parameters : null,
    strict: false,
  };
}

/** The calls of a message, or the rule that they break. */
export function readCalls(value: unknown): ToolCall[] | string {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) return "must have a list as `tool_calls`";
  const calls: ToolCall[] = [];
  for (const [i, item] of value.entries()) {
    const call = readCall(item, i);
    if (call === null) {
      return `has a call ${i + 1} that is not {"id":"...","type":"function","function":{"name":"...","arguments":"{...}"}}`;
    }
    calls.push(call);
  }
  return calls;
}

/** The arguments are the JSON text of an object, or in data sets of Hugging Face the object. */
function readCall(value: unknown, index: number): ToolCall | null {
  if (!isObject(value)) return null;
  const { name, arguments: given }: Json = isObject(value.function) ? value.function : value;
  const json = isObject(given) ? JSON.stringify(given) : given;
  if (typeof name !== "string" || name === "" || typeof json !== "string" || !isObject(jsonIn(json))) return null;
  return { id: typeof value.id === "string" ? value.id : `call_${index}`, name, arguments: json };
}

/** null where the text is not JSON. */
export function jsonIn(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
