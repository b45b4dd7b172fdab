/** Reads calls that are JSON objects, `{"name": "...", "arguments": {...}}`, alone or in a list. */
import { isObject } from "../../base/json.js";
import { behindSpace, type CallSink, Malformed, type Reading } from "./format.js";
import { JsonScanner } from "./json-scanner.js";

/** Names of the field with the arguments; a call has one of them. */
const argumentKeys = ["arguments", "parameters"];

/** One object, without the call's end. `first` is its first character. */
export function* readEnvelope(sink: CallSink, first: string): Reading {
  const json = new JsonScanner();
  const call = new Envelope(sink);
  for (let character = first; ; character = yield) {
    const part = json.push(character);
    if (part === null) throw new Malformed();
    call.take(part, character);
    if (json.isOver) break;
  }
  call.check();
}

/** Calls in square brackets, the first of which has been read. */
export function* readList(sink: CallSink): Reading {
  for (let next = ","; next !== "]"; next = yield* behindSpace()) {
    if (next !== ",") throw new Malformed();
    yield* readEnvelope(sink, yield* behindSpace());
    sink.end();
  }
}

/** One object of arguments. `first` is its first character. */
export function* readArguments(sink: CallSink, first: string): Reading {
  const json = new JsonScanner();
  for (let character = first; ; character = yield) {
    if (json.push(character) === null) throw new Malformed();
    sink.arguments(character);
    if (json.isOver) return;
  }
}

/** The fields of a call, as their characters come. */
class Envelope {
  readonly #sink: CallSink;
  #last = "between";
  #key = "";
  #value = "";
  #name: string | null = null;
  /** Arguments that came before the name. */
  #early = "";
  #hasArguments = false;

  constructor(sink: CallSink) {
    this.#sink = sink;
  }

  take(part: "key" | "value" | "between", character: string): void {
    if (part !== "value" && this.#last === "value") this.#endValue();
    if (part !== this.#last && part === "key") this.#key = "";
    if (part !== this.#last && part === "value") this.#beginValue(character);
    this.#last = part;
    if (part === "key") this.#key += character;
    if (part !== "value") return;
    if (this.#streams) this.#add(character);
    else if (this.#field !== null) this.#value += character;
  }

  /** Throws Malformed unless the object has what a call needs. */
  check(): void {
    if (this.#name === null || !this.#hasArguments) throw new Malformed();
  }

  #field: "name" | "arguments" | null = null;
  /** The arguments are an object, and passed on as they come. */
  #streams = false;

  #beginValue(first: string): void {
    const key: unknown = JSON.parse(this.#key);
    this.#value = "";
    this.#field = key === "name" ? "name" : argumentKeys.some((name) => name === key) ? "arguments" : null;
    this.#streams = this.#field === "arguments" && first === "{";
    if (this.#field === "name" && (this.#name !== null || first !== '"')) throw new Malformed();
    if (this.#field !== "arguments") return;
    if (this.#hasArguments || (first !== "{" && first !== '"')) throw new Malformed();
    this.#hasArguments = true;
  }

  #endValue(): void {
    if (this.#field === "name") {
      this.#name = JSON.parse(this.#value);
      if (this.#name === null || this.#name === "") throw new Malformed();
      this.#sink.begin(this.#name);
      if (this.#early !== "") this.#sink.arguments(this.#early);
    } else if (this.#field === "arguments" && !this.#streams) {
      this.#add(objectText(JSON.parse(this.#value)));
    }
    this.#field = null;
    this.#streams = false;
  }

  #add(text: string): void {
    if (this.#name === null) this.#early += text;
    else this.#sink.arguments(text);
  }
}

/** Some models write the arguments as a string with JSON in it, as OpenAI's answers have them. */
function objectText(text: string): string {
  try {
    if (isObject(JSON.parse(text))) return text;
  } catch {
    // not JSON
  }
  throw new Malformed();
}
