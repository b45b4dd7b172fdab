/** `<tool_call>{"name": "...", "arguments": {...}}</tool_call>`: Hermes, Qwen, SmolLM3 and Granite 4. */
import { severalForm } from "../../../grammar/source.js";
import { readEnvelope } from "../envelope.js";
import { behindSpace, type CallFormat, take } from "../format.js";
import { anyCall } from "../held.js";
import { callId } from "../ids.js";

export const hermes: CallFormat = {
  name: "hermes",
  triggers: ["<tool_call>"],
  markers: ["<tool_call>", "</tool_call>"],
  newId: callId,
  *read(sink) {
    yield* readEnvelope(sink, yield* behindSpace());
    yield* take("</tool_call>", yield* behindSpace());
    sink.end();
  },
  hold: ({ tools, parallel }) =>
    severalForm(anyCall(tools, '<tool_call>\n{"name": "', '", "arguments": ', "}\n</tool_call>"), "\n", parallel),
};

/** SmolLM3's template calls its tools `xml_tools`, and takes `tools` for them. */
export const smolLm3: CallFormat = { ...hermes, name: "smollm3" };
