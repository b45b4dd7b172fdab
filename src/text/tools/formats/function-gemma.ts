/** `<start_function_call>call:name{key:<escape>text<escape>,other:1}<end_function_call>`: FunctionGemma. Values are not JSON and become it. */
import { eitherForm, sequenceForm, severalForm, textForm } from "../../../grammar/source.js";
import { type CallFormat, type CallSink, Malformed, type Reading, take } from "../format.js";
import { callId } from "../ids.js";
import { plainObject, type Spelling } from "../plain-schema.js";

const quote = "<escape>";
const scalarPattern = /^(true|false|null|-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?)$/;
const namePattern = /^[\w.-]$/;
/** Deeper values are malformed. */
const maxDepth = 64;

export const functionGemma: CallFormat = {
  name: "functiongemma",
  triggers: ["<start_function_call>"],
  markers: ["<start_function_call>", "<end_function_call>", quote],
  newId: callId,
  *read(sink) {
    yield* take("call:");
    let name = "";
    let next: string = yield;
    for (; namePattern.test(next); next = yield) name += next;
    if (name === "" || next !== "{") throw new Malformed();
    sink.begin(name);
    yield* readObject(sink, 0);
    yield* take("<end_function_call>");
    sink.end();
  },
  hold({ tools, parallel }) {
    const calls = tools.map(({ name, schema, where }) =>
      sequenceForm(
        textForm(`<start_function_call>call:${name}`),
        plainObject(schema, where, spelling),
        textForm("<end_function_call>"),
      ),
    );
    return severalForm(eitherForm(...calls), "", parallel);
  },
};

const spelling: Spelling = {
  string: sequenceForm(textForm(quote), { kind: "without", texts: ["<"] }, textForm(quote)),
  word: (text) => quote + text + quote,
  key: (name) => `${name}:`,
};

/** The fields of an object, whose bracket has been read. */
function* readObject(sink: CallSink, depth: number): Reading {
  if (depth > maxDepth) throw new Malformed();
  sink.arguments("{");
  let next: string = yield;
  for (let isFirst = true; next !== "}"; isFirst = false) {
    if (!isFirst) {
      if (next !== ",") throw new Malformed();
      sink.arguments(",");
      next = yield;
    }
    let key = "";
    for (; next !== ":"; next = yield) {
      if ("{}[],<".includes(next)) throw new Malformed();
      key += next;
    }
    if (key === "") throw new Malformed();
    sink.arguments(`${JSON.stringify(key)}:`);
    next = yield* readValue(sink, depth, yield);
  }
  sink.arguments("}");
}

/** The items of a list, whose bracket has been read. */
function* readItems(sink: CallSink, depth: number): Reading {
  if (depth > maxDepth) throw new Malformed();
  sink.arguments("[");
  let next: string = yield;
  for (let isFirst = true; next !== "]"; isFirst = false) {
    if (!isFirst) {
      if (next !== ",") throw new Malformed();
      sink.arguments(",");
      next = yield;
    }
    next = yield* readValue(sink, depth, next);
  }
  sink.arguments("]");
}

/** Returns the character after the value, whose first has been read. */
function* readValue(sink: CallSink, depth: number, first: string): Generator<void, string, string> {
  if (first === "{") yield* readObject(sink, depth + 1);
  else if (first === "[") yield* readItems(sink, depth + 1);
  else if (first === "<") yield* readText(sink);
  else {
    let scalar = first;
    let next: string = yield;
    for (; !",}]".includes(next); next = yield) scalar += next;
    if (!scalarPattern.test(scalar)) throw new Malformed();
    sink.arguments(scalar);
    return next;
  }
  return yield;
}

/** A text, up to the second quote; `<` has been read. */
function* readText(sink: CallSink): Reading {
  yield* take(quote, "<");
  sink.arguments('"');
  for (let held = ""; ; ) {
    held += yield;
    if (held === quote) break;
    if (quote.startsWith(held)) continue;
    // What looked like a quote is text, and its last character may begin another.
    const begins = held.endsWith("<");
    sink.arguments(JSON.stringify(begins ? held.slice(0, -1) : held).slice(1, -1));
    held = begins ? "<" : "";
  }
  sink.arguments('"');
}
