/** Keeps a sequence from ending before its minimum number of tokens: until then the ids that would end it are at -Infinity. */

import type { LogitsProcessor } from "./processor.js";

export class MinTokens implements LogitsProcessor {
  readonly #endIds: readonly number[];
  #missing: number;

  constructor(minTokens: number, endIds: readonly number[]) {
    this.#missing = minTokens;
    this.#endIds = endIds;
  }

  get isIdle(): boolean {
    return this.#missing === 0;
  }

  apply(row: Float32Array): void {
    if (this.#missing > 0) for (const id of this.#endIds) row[id] = Number.NEGATIVE_INFINITY;
  }

  accept(): void {
    if (this.#missing > 0) this.#missing--;
  }
}
