/** Adds a fixed number to the logits of some tokens. */

import { float32At, float64At, int32At } from "../../../base/list.js";
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
      const id = int32At(this.#ids, i);
      row[id] = float32At(row, id) + float64At(this.#biases, i);
    }
  }

  accept(): void {}
}
