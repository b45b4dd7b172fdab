/** `<|tool_call|>[{"name": "...", "arguments": {...}}]`: Granite 3. */
import { readList } from "../envelope.js";
import { behindSpace, type CallFormat, take } from "../format.js";
import { listForm } from "../held.js";
import { callId } from "../ids.js";

export const granite: CallFormat = {
  name: "granite",
  triggers: ["<|tool_call|>", "<tool_call>"],
  markers: ["<|tool_call|>", "<tool_call>"],
  newId: callId,
  *read(sink) {
    yield* take("[", yield* behindSpace());
    yield* readList(sink);
  },
  hold: (calls) => listForm(calls, "<|tool_call|>", ""),
};
