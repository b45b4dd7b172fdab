/**
 * Mistral's `[TOOL_CALLS]`. Before: a list, `[TOOL_CALLS] [{"name": "...", "arguments": {...}}]`. Now: `[TOOL_CALLS]name[ARGS]{...}` for each
 * call, with `[CALL_ID]...` after the name in some versions.
 */
import { eitherForm, patternForm, sequenceForm, severalForm, textForm } from "../../../grammar/source.js";
import { readArguments, readEnvelope, readList } from "../envelope.js";
import { behindSpace, type CallFormat, Malformed, take } from "../format.js";
import { anyCall, argumentsForm, listForm } from "../held.js";
import { shortId } from "../ids.js";

const namePattern = /^[\w.-]$/;

export const mistral: CallFormat = {
  name: "mistral",
  triggers: ["[TOOL_CALLS]"],
  markers: ["[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"],
  newId: shortId,
  *read(sink) {
    const first = yield* behindSpace();
    if (first === "[") {
      yield* readList(sink);
      return;
    }
    if (first === "{") {
      yield* readEnvelope(sink, first);
      sink.end();
      return;
    }
    let name = first;
    let next: string = yield;
    for (; namePattern.test(next); next = yield) name += next;
    if (!namePattern.test(first)) throw new Malformed();
    if (next === "[") next = yield* behindMarkers();
    sink.begin(name);
    yield* readArguments(sink, next === " " ? yield* behindSpace() : next);
    sink.end();
  },
  hold(calls) {
    const { tools, parallel, template } = calls;
    if (!template.includes("[ARGS]")) return listForm(calls, "[TOOL_CALLS] ", "");
    if (!template.includes("[CALL_ID]")) return severalForm(anyCall(tools, "[TOOL_CALLS]", "[ARGS]", ""), "", parallel);
    const call = tools.map((tool) =>
      sequenceForm(
        textForm(`[TOOL_CALLS]${tool.name}[CALL_ID]`),
        patternForm("[a-zA-Z0-9]{9}"),
        textForm("[ARGS]"),
        argumentsForm(tool),
      ),
    );
    return severalForm(eitherForm(...call), "", parallel);
  },
};

/** After the name and `[`: the rest of the markers; returns the character after them. */
function* behindMarkers(): Generator<void, string, string> {
  let letter: string = yield;
  if (letter === "C") {
    yield* take("CALL_ID]", letter);
    do letter = yield;
    while (namePattern.test(letter));
    if (letter !== "[") throw new Malformed();
    letter = yield;
  }
  yield* take("ARGS]", letter);
  return yield* behindSpace();
}
