/** Decodes ids to text as they arrive. Each id is decoded once. */

import type { TextStream } from "../types.js";
import type { Decoder } from "./decoder.js";
import type { Definition } from "./definition.js";
import type { Stage } from "./stage.js";

/** A character has at most four bytes, so this many previous tokens determine the state of every stage. */
const primingTokens = 8;

/**
 * The stream of one text. Skips special tokens by default, and ids without a token always. After `flush` it is ready for a new
 * text.
 */
export class IdStream implements TextStream {
  readonly #definition: Definition;
  readonly #stages: readonly Stage[];
  readonly #keepSpecialTokens: boolean;

  constructor(definition: Definition, decoder: Decoder, keepSpecialTokens: boolean) {
    this.#definition = definition;
    this.#stages = decoder.stages();
    this.#keepSpecialTokens = keepSpecialTokens;
  }

  /** Continues after `ids`, whose text is not emitted: the next token is not the first one. */
  continueAfter(ids: readonly number[]): void {
    const last: number[] = [];
    for (let i = ids.length - 1; i >= 0 && last.length < primingTokens; i--) {
      const id = ids[i];
      if (id !== undefined && this.#tokenOf(id) !== undefined) last.push(id);
    }
    for (const id of last.reverse()) this.push(id);
  }

  #tokenOf(id: number): string | undefined {
    return this.#keepSpecialTokens || !this.#definition.specialIds.has(id) ? this.#definition.tokens[id] : undefined;
  }

  push(id: number): string {
    const token = this.#tokenOf(id);
    if (token === undefined) return "";
    return pushThrough(this.#stages, token);
  }

  flush(): string {
    return flushAll(this.#stages);
  }
}

/** The text of tokens by their spelling, special ones included. */
export function joinTokens(decoder: Decoder, tokens: readonly string[]): string {
  const stages = decoder.stages();
  return tokens.map((token) => pushThrough(stages, token)).join("") + flushAll(stages);
}

const pushThrough = (stages: readonly Stage[], token: string): string =>
  stages.reduce((text, stage) => stage.push(text), token);

const flushAll = (stages: readonly Stage[]): string =>
  stages.reduce((text, stage) => (text === "" ? "" : stage.push(text)) + stage.flush(), "");
