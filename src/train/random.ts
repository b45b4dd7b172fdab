/** Random numbers as a pure function of a seed and a key. They do not depend on earlier draws. */
import { int32At, uint32At } from "../base/list.js";
import { threefry2x32 } from "../engine/sampling/random.js";

/** A separate stream for each key (purpose, epoch, step, target module, ...). */
export class Draws {
  readonly #key = new Uint32Array(2);
  readonly #block = new Uint32Array(2);
  #counter = 0;
  #left = 0;

  constructor(seed: number, ...place: readonly number[]) {
    const [key0, key1] = [seed | 0, Math.floor(seed / 2 ** 32) | 0];
    threefry2x32(key0, key1, place.length, 0x6c6f7261, this.#key);
    for (const number of place) {
      const [k0 = 0, k1 = 0] = this.#key;
      threefry2x32(k0, k1, number | 0, Math.floor(number / 2 ** 32) | 0, this.#key);
    }
  }

  /** Uniform 32 bits. */
  word(): number {
    if (this.#left === 0) {
      const counter = this.#counter++;
      const [k0 = 0, k1 = 0] = this.#key;
      threefry2x32(k0, k1, counter | 0, Math.floor(counter / 2 ** 32), this.#block);
      this.#left = 2;
    }
    this.#left--;
    return uint32At(this.#block, this.#left);
  }

  /** Uniform in [0, 1). */
  next(): number {
    return this.word() * 2 ** -32;
  }

  /** A whole number in [0, count). */
  below(count: number): number {
    return Math.floor(this.next() * count);
  }

  /** The numbers from 0 to count - 1 in random order (Fisher-Yates). */
  permutation(count: number): Int32Array {
    const order = Int32Array.from({ length: count }, (_, i) => i);
    for (let i = count - 1; i > 0; i--) {
      const j = this.below(i + 1);
      const held = int32At(order, i);
      order[i] = int32At(order, j);
      order[j] = held;
    }
    return order;
  }
}

/** Purposes of draws: the first number of a key. */
export const purposes = { initialize: 1, split: 2, shuffle: 3, dropout: 4, samples: 5 } as const;
