/**
 * Qwen3-Coder's tags: `<tool_call>`, `<function=name>`, for each argument `<parameter=key>` with its text between line ends, and the end tags.
 * Texts become the type that the tool's schema declares.
 */
import { isObject, type Json } from "../../../base/json.js";
import { eitherForm, type GrammarForm, sequenceForm, severalForm, textForm } from "../../../grammar/source.js";
import { behindSpace, type CallFormat, Malformed, take } from "../format.js";
import type { HeldTool } from "../held.js";
import { callId } from "../ids.js";
import { jsonForm, plainString, propertiesOf } from "../plain-schema.js";
import type { Tool } from "../types.js";

const endOfParameter = "</parameter>";

export const qwen3Coder: CallFormat = {
  name: "qwen3_coder",
  triggers: ["<tool_call>"],
  markers: ["<tool_call>", "</tool_call>"],
  newId: callId,
  *read(sink, tools) {
    yield* take("<function=", yield* behindSpace());
    const name = yield* readName();
    const tool = tools.find((each) => each.name === name);
    sink.begin(name);
    sink.arguments("{");
    const keys = new Set<string>();
    for (;;) {
      yield* take("<", yield* behindSpace());
      const letter: string = yield;
      if (letter === "/") break;
      yield* take("parameter=", letter);
      const key = yield* readName();
      if (keys.has(key)) throw new Malformed();
      let text = "";
      while (!text.endsWith(endOfParameter)) text += yield;
      const value = text.slice(0, -endOfParameter.length).replace(/^\n/, "").replace(/\n$/, "");
      sink.arguments(`${keys.size > 0 ? ", " : ""}${JSON.stringify(key)}: ${valueText(tool, key, value)}`);
      keys.add(key);
    }
    yield* take("function>");
    sink.arguments("}");
    yield* take("</tool_call>", yield* behindSpace());
    sink.end();
  },
  hold({ tools, parallel }) {
    const calls = tools.map((tool) =>
      sequenceForm(
        textForm(`<tool_call>\n<function=${tool.name}>\n`),
        parametersForm(tool),
        textForm("</function>\n</tool_call>"),
      ),
    );
    return severalForm(eitherForm(...calls), "\n", parallel);
  },
};

/** Each parameter between its tags: strings as they are, other values as JSON. */
function parametersForm({ schema, where }: HeldTool): GrammarForm {
  const entries = propertiesOf(schema, where).map(({ name, schema: inner, isRequired }) => {
    const value = isObject(inner) && inner.type === "string" ? stringForm(inner, where) : jsonForm(inner, where);
    const item = sequenceForm(textForm(`<parameter=${name}>\n`), value, textForm(`\n${endOfParameter}\n`));
    return { item, isRequired };
  });
  return { kind: "list", separator: "", entries };
}

const stringForm = (schema: Json, where: string): GrammarForm =>
  plainString(schema, where, { kind: "without", texts: [endOfParameter] }, (word) => word);

/** A name and the bracket after it. */
function* readName(): Generator<void, string, string> {
  let name = "";
  for (let next: string = yield; next !== ">"; next = yield) {
    if (next === "<" || next === "\n") throw new Malformed();
    name += next;
  }
  if (name === "") throw new Malformed();
  return name;
}

/** The value as JSON: a string, unless the schema says otherwise and the text is JSON of another type. */
function valueText(tool: Tool | undefined, key: string, text: string): string {
  const properties = tool?.parameters?.properties;
  const schema = isObject(properties) && Object.hasOwn(properties, key) ? properties[key] : undefined;
  const types = isObject(schema) ? [schema.type ?? (schema.anyOf === undefined ? "string" : "any")].flat() : ["string"];
  if (types.length === 1 && types[0] === "string") return JSON.stringify(text);
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "string" ? JSON.stringify(text) : text.trim();
  } catch {
    return JSON.stringify(text);
  }
}
