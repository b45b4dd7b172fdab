/** Adds a fixed number to the logits of some tokens. */

import { at } from "../../../base/list.js";
import type { LogitsProcessor } from "./processor.js";

export class LogitBias implements LogitsProcessor {
  readonly isIdle = false;
  readonly #ids: Int32Array;
  readonly #biases: Float64Array;

  constructor(biases: ReadonlyMap<number, number>) {
    this.#ids = Int32Array.from(biases.keys());
    this.#biases = Float64Array.from(biases.values());
  }

  apply(row: Float32Array): void {
    for (let i = 0; i < this.#ids.length; i++) {
      const id = at(this.#ids, i);
      row[id] = at(row, id) + at(this.#biases, i);
    }
  }

  accept(): void {}
}
