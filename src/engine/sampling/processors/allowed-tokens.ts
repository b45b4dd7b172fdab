/** Keeps only the allowed tokens; all others go to -Infinity. */

import { uint32At } from "../../../base/list.js";
import { applyMask } from "./mask.js";
import type { LogitsProcessor } from "./processor.js";

export class AllowedTokens implements LogitsProcessor {
  readonly isIdle = false;
  /** One bit for each token up to the largest that is allowed: the list itself may be as long as the vocabulary. */
  readonly #mask: Uint32Array;

  constructor(ids: readonly number[]) {
    let largest = -1;
    for (const id of ids) largest = Math.max(largest, id);
    this.#mask = new Uint32Array((largest >> 5) + 1);
    for (const id of ids) this.#mask[id >>> 5] = uint32At(this.#mask, id >>> 5) | (1 << (id & 31));
  }

  apply(row: Float32Array): void {
    applyMask(row, this.#mask);
  }

  accept(): void {}
}
