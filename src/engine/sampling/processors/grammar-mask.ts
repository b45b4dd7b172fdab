/** Allows only tokens that continue a text of the grammar, and tokens that end the sequence only where the text may end. */

import { float32At, int32At } from "../../../base/list.js";
import type { GrammarMatcher } from "../../../grammar/grammar.js";
import { applyMask } from "./mask.js";
import type { LogitsProcessor } from "./processor.js";

export class GrammarMask implements LogitsProcessor {
  readonly isIdle = false;
  readonly #matcher: GrammarMatcher;
  readonly #mask: Uint32Array;
  readonly #endIds: Int32Array;
  /** The logits of `#endIds`, while the mask is applied. */
  readonly #endLogits: Float32Array;

  /** `endIds` never count as text, whatever their bytes. */
  constructor(matcher: GrammarMatcher, endIds: readonly number[]) {
    this.#matcher = matcher;
    this.#mask = matcher.emptyMask();
    this.#endIds = Int32Array.from(endIds);
    this.#endLogits = new Float32Array(endIds.length);
  }

  /** Nothing may follow. */
  get isOver(): boolean {
    return this.#matcher.isOver;
  }

  apply(row: Float32Array): void {
    const mayEnd = this.#matcher.isComplete;
    for (let i = 0; i < this.#endIds.length; i++) {
      this.#endLogits[i] = mayEnd ? float32At(row, int32At(this.#endIds, i)) : Number.NEGATIVE_INFINITY;
    }
    this.#matcher.fill(this.#mask);
    applyMask(row, this.#mask);
    for (let i = 0; i < this.#endIds.length; i++) row[int32At(this.#endIds, i)] = float32At(this.#endLogits, i);
  }

  accept(token: number): void {
    if (!this.#endIds.includes(token)) this.#matcher.accept(token);
  }
}
