/** Ids into text as they come, each id once: nothing is decoded again. Knows the decoder's steps and nothing of requests. */

import type { TextStream } from "../types.js";
import type { Decoder } from "./decoder.js";
import type { Definition } from "./definition.js";
import type { Stage } from "./stage.js";

/** A character has at most four bytes, so this many tokens before it settle the state of every step. */
const primingTokens = 8;

/**
 * A stream of one text. Special tokens are left out unless asked for, ids without a token always. After `flush` it can be used
 * for a new text.
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

  /** Goes on behind `ids`, whose own text is not given out: the next token is not a first one. */
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
    let text = token;
    for (const stage of this.#stages) text = stage.push(text);
    return text;
  }

  flush(): string {
    let text = "";
    for (const stage of this.#stages) text = (text === "" ? "" : stage.push(text)) + stage.flush();
    return text;
  }
}
