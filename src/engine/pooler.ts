/** One vector from the hidden states of a prompt, which arrive in chunks, and the state of the token that a head classifies. */

import { assert } from "../base/errors.js";
import { float32At } from "../base/list.js";
import type { PoolingMode } from "../model/task/sentence-modules.js";

export type { PoolingMode } from "../model/task/sentence-modules.js";

/** What a sequence that generates nothing gives instead. */
export interface Pooling {
  /** Several are joined in this order. */
  readonly modes: readonly PoolingMode[];
  /** The token that a head classifies by, counted in the prompt. */
  readonly place: number;
}

export class Pooler {
  readonly #parts: readonly PooledPart[];
  readonly #place: number;
  readonly #length: number;
  /** Whether it reads another token than the last of the prompt. */
  readonly readsAll: boolean;
  #classified: Float32Array | null = null;

  /** `length`: tokens of the prompt. */
  constructor({ modes, place }: Pooling, length: number) {
    assert(place >= 0 && place < length, `token ${place} is one of the prompt's ${length}`);
    this.#parts = modes.map((mode) => new PooledPart(mode, length));
    this.#place = place;
    this.#length = length;
    this.readsAll = modes.some((mode) => mode !== "last") || place !== length - 1;
  }

  /** Takes the states [tokens, size] of the tokens from `start` on; of the last one alone unless it reads all. */
  add(start: number, tokens: number, states: Float32Array): void {
    const rows = this.readsAll ? tokens : 1;
    const size = states.length / rows;
    for (let row = 0; row < rows; row++) {
      const token = start + (tokens - rows) + row;
      const state = states.subarray(row * size, (row + 1) * size);
      if (token === this.#place) this.#classified = state.slice();
      for (const part of this.#parts) part.add(token, state);
    }
    assert(start + tokens <= this.#length, "a chunk ends with the prompt");
  }

  /** After all tokens. `classified` is the state of the token at `place`. */
  finish(): { readonly vector: Float32Array<ArrayBuffer>; readonly classified: Float32Array } {
    assert(this.#classified, "a prompt was read before its states are pooled");
    const parts = this.#parts.map((part) => part.finish());
    const vector = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
    let start = 0;
    for (const part of parts) {
      vector.set(part, start);
      start += part.length;
    }
    return { vector, classified: this.#classified };
  }
}

/** The states of all tokens pooled in one way. */
class PooledPart {
  readonly #mode: PoolingMode;
  readonly #length: number;
  #values: Float64Array | null = null;

  constructor(mode: PoolingMode, length: number) {
    [this.#mode, this.#length] = [mode, length];
  }

  add(token: number, state: Float32Array): void {
    if (this.#mode === "cls" && token !== 0) return;
    if (this.#mode === "last" && token !== this.#length - 1) return;
    if (!this.#values) {
      this.#values = Float64Array.from(state, (value) => value * this.#weight(token));
      return;
    }
    const [values, weight] = [this.#values, this.#weight(token)];
    for (let i = 0; i < values.length; i++) {
      const [value, before] = [float32At(state, i), values[i] as number];
      values[i] = this.#mode === "max" ? Math.max(before, value) : before + value * weight;
    }
  }

  #weight(token: number): number {
    return this.#mode === "weightedmean" ? token + 1 : 1;
  }

  finish(): Float32Array {
    const values = this.#values;
    assert(values, "a prompt was read before its states are pooled");
    const divisor = this.#divisor();
    return Float32Array.from(values, (value) => value / divisor);
  }

  #divisor(): number {
    const length = this.#length;
    switch (this.#mode) {
      case "mean":
        return length;
      case "mean_sqrt_len_tokens":
        return Math.sqrt(length);
      case "weightedmean":
        return (length * (length + 1)) / 2;
      default:
        return 1;
    }
  }
}
