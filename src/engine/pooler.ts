/** One vector from the hidden states of a prompt, which arrive in chunks, and the state of the token that a head classifies. */

import { assert } from "../base/errors.js";
import { float32At } from "../base/list.js";
import type { PoolingMode } from "../model/task/text-head.js";

/** What a sequence that generates nothing gives instead. */
export interface Pooling {
  readonly mode: PoolingMode;
  /** The token that a head classifies by, counted in the prompt. */
  readonly place: number;
}

export class Pooler {
  readonly #mode: PoolingMode;
  readonly #place: number;
  readonly #length: number;
  #sums: Float64Array | null = null;
  #vector: Float32Array | null = null;
  #classified: Float32Array | null = null;

  /** `length`: tokens of the prompt. */
  constructor({ mode, place }: Pooling, length: number) {
    assert(place >= 0 && place < length, `token ${place} is one of the prompt's ${length}`);
    this.#mode = mode;
    this.#place = place;
    this.#length = length;
  }

  /** Whether it reads another token than the last of the prompt. */
  get readsAll(): boolean {
    return this.#mode !== "last" || this.#place !== this.#length - 1;
  }

  /** Takes the states [tokens, size] of the tokens from `start` on; of the last one alone unless it reads all. */
  add(start: number, tokens: number, states: Float32Array): void {
    const rows = this.readsAll ? tokens : 1;
    const size = states.length / rows;
    const rowOf = (token: number): Float32Array | null => {
      const row = token - start - (tokens - rows);
      return row >= 0 && row < rows ? states.slice(row * size, (row + 1) * size) : null;
    };
    this.#classified ??= rowOf(this.#place);
    if (this.#mode === "cls") this.#vector ??= rowOf(0);
    else if (this.#mode === "last") this.#vector = rowOf(this.#length - 1);
    else this.#sum(states, size);
  }

  #sum(states: Float32Array, size: number): void {
    const isMax = this.#mode === "max";
    this.#sums ??= new Float64Array(size).fill(isMax ? Number.NEGATIVE_INFINITY : 0);
    const sums = this.#sums;
    for (let i = 0; i < states.length; i++) {
      const [value, at] = [float32At(states, i), i % size];
      const sum = sums[at] as number;
      sums[at] = isMax ? Math.max(sum, value) : sum + value;
    }
  }

  /** After all tokens. `classified` is the state of the token at `place`. */
  finish(): { readonly vector: Float32Array; readonly classified: Float32Array } {
    const sums = this.#sums;
    const divisor = this.#mode === "mean" ? this.#length : 1;
    const vector = sums ? Float32Array.from(sums, (sum) => sum / divisor) : this.#vector;
    assert(vector && this.#classified, "a prompt was read before its states are pooled");
    return { vector, classified: this.#classified };
  }
}
