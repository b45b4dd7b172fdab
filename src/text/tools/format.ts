/** How a family of models writes calls: what a file of `formats` provides. */
import type { GrammarForm } from "../../grammar/source.js";
import type { HeldCalls } from "./held.js";
import type { Tool } from "./types.js";

/** Takes a call as it is read. What a reader gives it counts only once `end` is called. */
export interface CallSink {
  begin(name: string): void;
  /** More of the arguments' JSON text. */
  arguments(text: string): void;
  end(): void;
}

/** Takes the characters after a trigger one by one, and returns after the last call. Throws Malformed where no call continues. */
export type Reading = Generator<void, void, string>;

/** The text is not a call. */
export class Malformed extends Error {}

export interface CallFormat {
  /** The name of vLLM's parser, where it has one. */
  readonly name: string;
  /** Texts that begin a call. */
  readonly triggers: readonly string[];
  /** A call may also begin with this character, if it is the first of the answer and names one of the tools. */
  readonly opening?: string;
  /** Special tokens that are part of a call's text. */
  readonly markers: readonly string[];
  read(sink: CallSink, tools: readonly Tool[], trigger: string): Reading;
  /** A new call's id; unique within a chat. */
  newId(): string;
  /** The texts of calls of these functions, as the model writes them. Throws LorikeetError `invalid_value` for a schema that it cannot hold. */
  hold(calls: HeldCalls): GrammarForm;
}

const isSpace = (character: string): boolean => " \n\r\t".includes(character);

/** Skips white space; returns the character after it. */
export function* behindSpace(): Generator<void, string, string> {
  let character: string = yield;
  while (isSpace(character)) character = yield;
  return character;
}

/** Takes exactly this text, whose first character may have been read already. */
export function* take(text: string, first?: string): Generator<void, void, string> {
  for (const [index, expected] of Array.from(text).entries()) {
    const character = index === 0 && first !== undefined ? first : yield;
    if (character !== expected) throw new Malformed();
  }
}
