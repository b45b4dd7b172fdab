/** Finds the calls in an answer's text as it arrives. What is not a well-formed call stays text. */
import { assert } from "../../base/errors.js";
import { type CallFormat, type CallSink, Malformed, type Reading } from "./format.js";
import type { CallDelta, Tool } from "./types.js";

export type OutputPiece =
  | { readonly kind: "text" | "reasoning"; readonly text: string }
  | { readonly kind: "call"; readonly delta: CallDelta };

export interface CallOptions {
  readonly format: CallFormat;
  readonly tools: readonly Tool[];
  /** false: the answer is over after its first call. */
  readonly parallel: boolean;
  /** A grammar holds the calls: they are passed on while they are read, not once they are known to be well formed. */
  readonly isHeld: boolean;
  /** And the answer is nothing but calls: the beginning of one is not text either. Default false. */
  readonly isForced?: boolean;
}

/**
 * The pieces do not depend on how the text was cut, except that texts and arguments are cut where it was. White space around calls is not
 * text. A malformed call is text up to where it went wrong; after that, calls are looked for again.
 */
export class CallScanner {
  readonly #options: CallOptions;
  readonly #sink: CallSink;
  #reading: Reading | null = null;
  /** The text since the last whole call, while one is read. */
  #raw = "";
  #deltas: CallDelta[] = [];
  /** How many of the deltas had come before this push: only newer ones are joined. */
  #older = 0;
  #index = 0;
  /** The call that is read has been passed on in part. */
  #isSent = false;
  /** Text that may be the start of a trigger. */
  #held = "";
  /** White space that is text only if text follows. */
  #space = "";
  #isAtStart = true;
  #follows: "nothing" | "text" | "call" = "nothing";
  #pieces: OutputPiece[] = [];

  constructor(options: CallOptions) {
    this.#options = options;
    this.#sink = {
      begin: (name) => this.#begin(name),
      arguments: (text) => this.#add({ index: this.#index, begin: null, arguments: text }),
      end: () => this.#end(),
    };
  }

  /** Number of whole calls. */
  get calls(): number {
    return this.#index;
  }

  /** Nothing more is read. */
  get isOver(): boolean {
    return !this.#options.parallel && this.#index > 0;
  }

  push(text: string): OutputPiece[] {
    this.#older = this.#deltas.length;
    for (const character of text) {
      if (this.isOver) break;
      if (this.#reading) this.#read(character);
      else this.#look(character);
    }
    return this.#take();
  }

  /** The rest, when the text is over. */
  finish(): OutputPiece[] {
    if (this.isOver) return [];
    // A call that a grammar holds and that is not whole was cut by the length of the answer: it is not text.
    if (this.#reading && this.#options.isHeld) this.#drop();
    else if (this.#reading) this.#giveUp();
    if (!this.#options.isForced) this.#text(this.#held);
    this.#held = "";
    if (this.#follows !== "call" && this.#space !== "") this.#pieces.push({ kind: "text", text: this.#space });
    this.#space = "";
    return this.#take();
  }

  #take(): OutputPiece[] {
    if (this.#options.isHeld) this.#send();
    return joined(this.#pieces.splice(0));
  }

  #look(character: string): void {
    const { format } = this.#options;
    if (this.#isAtStart && character === format.opening) {
      this.#open("");
      this.#read(character);
      return;
    }
    if (character.trim() !== "") this.#isAtStart = false;
    this.#held += character;
    const trigger = format.triggers.find((each) => this.#held.endsWith(each));
    if (trigger !== undefined) {
      this.#text(this.#held.slice(0, -trigger.length));
      this.#held = "";
      this.#open(trigger);
      return;
    }
    const certain = this.#held.length - longestStart(this.#held, format.triggers);
    this.#text(this.#held.slice(0, certain));
    this.#held = this.#held.slice(certain);
  }

  #open(trigger: string): void {
    this.#raw = trigger;
    this.#reading = this.#options.format.read(this.#sink, this.#options.tools, trigger);
    this.#reading.next();
  }

  #read(character: string): void {
    assert(this.#reading, "a call is being read");
    this.#raw += character;
    try {
      if (!this.#reading.next(character).done) return;
      this.#reading = null;
      this.#raw = "";
    } catch (error) {
      if (!(error instanceof Malformed)) throw error;
      this.#raw = this.#raw.slice(0, -character.length);
      this.#giveUp();
      this.#look(character);
    }
  }

  /** What was read is text. Its end may be the start of a trigger. */
  #giveUp(): void {
    const raw = this.#isSent ? "" : this.#raw;
    this.#deltas = [];
    this.#drop();
    const certain = raw.length - longestStart(raw, this.#options.format.triggers);
    this.#text(raw.slice(0, certain));
    this.#held = raw.slice(certain);
  }

  /** Ends the reading of a call; what is known of it stays. */
  #drop(): void {
    this.#reading = null;
    this.#raw = "";
    this.#older = 0;
    this.#isSent = false;
    this.#isAtStart = false;
  }

  #begin(name: string): void {
    const { format, tools } = this.#options;
    const isKnown = tools.some((tool) => tool.name === name);
    if (format.opening !== undefined && !isKnown) throw new Malformed();
    this.#add({ index: this.#index, begin: { id: format.newId(), name }, arguments: "" });
  }

  #add(delta: CallDelta): void {
    const last = this.#deltas.at(-1);
    if (last && delta.begin === null && last.begin === null && this.#deltas.length > this.#older) {
      this.#deltas[this.#deltas.length - 1] = { ...last, arguments: last.arguments + delta.arguments };
    } else {
      this.#deltas.push(delta);
    }
  }

  #end(): void {
    this.#send();
    this.#isSent = false;
    this.#index++;
    this.#raw = "";
  }

  #send(): void {
    if (this.#deltas.length === 0) return;
    for (const delta of this.#deltas) this.#pieces.push({ kind: "call", delta });
    this.#deltas = [];
    this.#older = 0;
    this.#isSent = true;
    this.#space = "";
    this.#follows = "call";
  }

  #text(text: string): void {
    const whole = this.#space + text;
    const said = whole.trimEnd();
    this.#space = whole.slice(said.length);
    if (said === "") return;
    this.#pieces.push({ kind: "text", text: said });
    this.#follows = "text";
  }
}

/** Length of the longest proper start of a trigger that the text ends with. */
function longestStart(text: string, triggers: readonly string[]): number {
  let longest = 0;
  for (const trigger of triggers) {
    for (let length = Math.min(trigger.length - 1, text.length); length > longest; length--) {
      if (text.endsWith(trigger.slice(0, length))) longest = length;
    }
  }
  return longest;
}

/** Neighbouring texts are one. */
function joined(pieces: readonly OutputPiece[]): OutputPiece[] {
  const all: OutputPiece[] = [];
  for (const piece of pieces) {
    const last = all.at(-1);
    if (piece.kind !== "call" && last?.kind === piece.kind)
      all[all.length - 1] = { ...last, text: last.text + piece.text };
    else all.push(piece);
  }
  return all;
}
