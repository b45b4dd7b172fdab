/** `{"name": "...", "parameters": {...}}`, also after `<|python_tag|>`, several with `;` in between: Llama 3. */
import { severalForm } from "../../../grammar/source.js";
import { readEnvelope } from "../envelope.js";
import { behindSpace, type CallFormat, Malformed } from "../format.js";
import { anyCall } from "../held.js";
import { callId } from "../ids.js";

export const llama3Json: CallFormat = {
  name: "llama3_json",
  triggers: ["<|python_tag|>"],
  opening: "{",
  markers: ["<|python_tag|>"],
  newId: callId,
  *read(sink) {
    for (let next = ";"; next === ";"; next = yield* behindSpace()) {
      yield* readEnvelope(sink, yield* behindSpace());
      sink.end();
    }
    throw new Malformed();
  },
  hold: ({ tools, parallel }) => severalForm(anyCall(tools, '{"name": "', '", "parameters": ', "}"), "; ", parallel),
};
