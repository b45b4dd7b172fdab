/** `<|tool_call|>[{"name": "...", "arguments": {...}}]<|/tool_call|>`, or `functools[...]`: Phi-4. */
import { readList } from "../envelope.js";
import { behindSpace, type CallFormat, take } from "../format.js";
import { listForm } from "../held.js";
import { callId } from "../ids.js";

const tag = "<|tool_call|>";
const endTag = "<|/tool_call|>";

export const phi4MiniJson: CallFormat = {
  name: "phi4_mini_json",
  triggers: [tag, "functools"],
  markers: [tag, endTag],
  newId: callId,
  *read(sink, _tools, trigger) {
    yield* take("[", yield* behindSpace());
    yield* readList(sink);
    if (trigger === tag) yield* take(endTag, yield* behindSpace());
  },
  hold: (calls) => listForm(calls, tag, endTag),
};
