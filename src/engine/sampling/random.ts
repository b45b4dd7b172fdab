/**
 * Random numbers that are a pure function of (seed, token index, draw): Threefry-2x32, 20 rounds (Salmon et al., "Parallel
 * Random Numbers: As Easy as 1, 2, 3", SC'11). A stream never depends on neighbours, batching or what was drawn before.
 */

import { randomBytes } from "node:crypto";
import { uint32At } from "../../base/list.js";

const skeinParity = 0x1bd11bda;

/** Encrypts the counter (c0, c1) under the key (k0, k1) into two 32-bit words. */
export function threefry2x32(k0: number, k1: number, c0: number, c1: number, into: Uint32Array): void {
  const k2 = skeinParity ^ k0 ^ k1;
  let x0 = (c0 + k0) | 0;
  let x1 = (c1 + k1) | 0;
  // Two groups of four rounds a turn, each followed by an injection of two key words and the group's number.
  let a = k1;
  let b = k2;
  let c = k0;
  for (let group = 1; ; group += 2) {
    x0 = (x0 + x1) | 0;
    x1 = ((x1 << 13) | (x1 >>> 19)) ^ x0;
    x0 = (x0 + x1) | 0;
    x1 = ((x1 << 15) | (x1 >>> 17)) ^ x0;
    x0 = (x0 + x1) | 0;
    x1 = ((x1 << 26) | (x1 >>> 6)) ^ x0;
    x0 = (x0 + x1) | 0;
    x1 = ((x1 << 6) | (x1 >>> 26)) ^ x0;
    x0 = (x0 + a) | 0;
    x1 = (x1 + b + group) | 0;
    if (group === 5) break;
    x0 = (x0 + x1) | 0;
    x1 = ((x1 << 17) | (x1 >>> 15)) ^ x0;
    x0 = (x0 + x1) | 0;
    x1 = ((x1 << 29) | (x1 >>> 3)) ^ x0;
    x0 = (x0 + x1) | 0;
    x1 = ((x1 << 16) | (x1 >>> 16)) ^ x0;
    x0 = (x0 + x1) | 0;
    x1 = ((x1 << 24) | (x1 >>> 8)) ^ x0;
    x0 = (x0 + b) | 0;
    x1 = (x1 + c + group + 1) | 0;
    const first = a;
    a = c;
    c = b;
    b = first;
  }
  into[0] = x0;
  into[1] = x1;
}

/**
 * The seed of choice `index` of a request: its own for the first, for each other a hash of both, so that no choice of one
 * seed is one of its neighbour's. `seed` is any integer that a double holds.
 */
export function choiceSeed(seed: number, index: number): number {
  if (index === 0) return seed;
  const block = new Uint32Array(2);
  threefry2x32(lowWord(seed), highWord(seed), index, choiceDomain, block);
  return (uint32At(block, 0) >>> 11) * 2 ** 32 + uint32At(block, 1);
}

/** Keeps the hashes of choices apart from the draws of tokens, whose counters are small. */
const choiceDomain = 0x63686f69;

const lowWord = (seed: number): number => seed | 0;
const highWord = (seed: number): number => Math.floor(seed / 2 ** 32) | 0;

/** One sequence's stream: the key is its seed, the counter is (token index, draw). */
export class RandomStream {
  readonly #key0: number;
  readonly #key1: number;
  readonly #block = new Uint32Array(2);
  #index = 0;
  #draw = 0;

  /** `seed`: an integer, of either sign; null takes 64 bits from the system. */
  constructor(seed: number | null) {
    if (seed === null) {
      const bytes = randomBytes(8);
      this.#key0 = bytes.readInt32LE(0);
      this.#key1 = bytes.readInt32LE(4);
    } else {
      this.#key0 = lowWord(seed);
      this.#key1 = highWord(seed);
    }
  }

  /** Starts the draws of token `index` (0 is the first one generated). */
  seek(index: number): void {
    this.#index = index;
    this.#draw = 0;
  }

  /** The next draw of this token: uniform in [0, 1), 53 bits. */
  next(): number {
    threefry2x32(this.#key0, this.#key1, this.#index, this.#draw++, this.#block);
    return ((uint32At(this.#block, 0) >>> 5) * 2 ** 26 + (uint32At(this.#block, 1) >>> 6)) * 2 ** -53;
  }
}
