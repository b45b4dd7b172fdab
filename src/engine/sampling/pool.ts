/**
 * A short list of tokens taken from a logits row in one pass: the k best, or all above a cut. Its arrays are allocated once, as
 * long as the vocabulary. The order of tokens is total everywhere in the sampler: larger logit first, then lower id.
 */

import { float32At, int32At } from "../../base/list.js";
import { eightAtMost, refuseEmptyRow, refuseRow } from "./scan.js";

/** Tokens with their logits. `ids` null: token i is at place i, a whole row. Excluded tokens are at `floor` or below. */
export interface TokenField {
  readonly values: Float32Array;
  readonly ids: Int32Array | null;
  readonly count: number;
  readonly floor: number;
}

export class TokenPool implements TokenField {
  readonly values: Float32Array;
  readonly ids: Int32Array;
  #count = 0;
  #floor = Number.NEGATIVE_INFINITY;

  constructor(vocabSize: number) {
    this.values = new Float32Array(vocabSize);
    this.ids = new Int32Array(vocabSize);
  }

  get count(): number {
    return this.#count;
  }

  get floor(): number {
    return this.#floor;
  }

  /** The place of the best token. */
  get leader(): number {
    let leader = 0;
    for (let i = 1; i < this.#count; i++) {
      if (this.#before(i, float32At(this.values, leader), int32At(this.ids, leader))) leader = i;
    }
    return leader;
  }

  /**
   * Takes the k best tokens of row [vocab], in no order; fewer where fewer are above -Infinity. One pass: whatever does not
   * beat the k-th best so far is passed over, the rest is gathered, and cut back to k when the room for it is full.
   * Throws `runtime_failed` for rows that `argmax` refuses.
   */
  best(row: Float32Array, k: number): void {
    const room = Math.min(row.length, 2 * k + 64);
    this.#count = 0;
    this.#floor = Number.NEGATIVE_INFINITY;
    let worst = Number.NEGATIVE_INFINITY;
    const whole = row.length & ~7;
    for (let i = 0; i < whole; i += 8) {
      if (eightAtMost(row, i, worst)) continue;
      worst = this.#gatherBest(row, i, i + 8, worst, k, room);
    }
    this.#gatherBest(row, whole, row.length, worst, k, room);
    if (this.#count === 0) refuseEmptyRow();
    if (this.#count > k) this.#keep(k);
  }

  /** Takes every token of row [vocab] above `floor`, in the order of ids; false when they are too many for a list to pay, and then the list is of no use. */
  above(row: Float32Array, floor: number): boolean {
    this.#count = 0;
    this.#floor = floor;
    const whole = row.length & ~7;
    for (let i = 0; i < whole; i += 8) {
      if (eightAtMost(row, i, floor)) continue;
      if (this.#gatherAbove(row, i, i + 8, floor) > 256 + (i >> 4)) return false;
    }
    this.#gatherAbove(row, whole, row.length, floor);
    return true;
  }

  /** Adds those tokens of [begin, end) that are above `worst`; returns the new `worst`. */
  #gatherBest(row: Float32Array, begin: number, end: number, worst: number, k: number, room: number): number {
    let bar = worst;
    for (let i = begin; i < end; i++) {
      const x = float32At(row, i);
      if (x <= bar) continue;
      if (!(x < Number.POSITIVE_INFINITY)) refuseRow(x, i);
      this.#push(x, i);
      if (this.#count === room && k < room) {
        this.#keep(k);
        bar = float32At(this.values, k - 1);
      }
    }
    return bar;
  }

  /** Adds those tokens of [begin, end) that are above `floor`; returns the number of all. */
  #gatherAbove(row: Float32Array, begin: number, end: number, floor: number): number {
    for (let i = begin; i < end; i++) {
      const x = float32At(row, i);
      if (x > floor) this.#push(x, i);
    }
    return this.#count;
  }

  #push(value: number, id: number): void {
    this.values[this.#count] = value;
    this.ids[this.#count++] = id;
  }

  /** Sorts the list, best first: an insertion sort, for the few of a list of alternatives. */
  sort(): void {
    for (let i = 1; i < this.#count; i++) {
      for (let j = i; j > 0 && this.#before(j, float32At(this.values, j - 1), int32At(this.ids, j - 1)); j--)
        this.#swap(j, j - 1);
    }
  }

  /** Quickselect (Hoare): keeps the k best, the worst of them at place k - 1. */
  #keep(k: number): void {
    const { values, ids } = this;
    let low = 0;
    let high = this.#count - 1;
    this.#count = k;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const value = float32At(values, middle);
      const id = int32At(ids, middle);
      let i = low;
      let j = high;
      while (i <= j) {
        for (let x = float32At(values, i); x > value || (x === value && int32At(ids, i) < id); x = float32At(values, i))
          i++;
        for (let x = float32At(values, j); x < value || (x === value && int32At(ids, j) > id); x = float32At(values, j))
          j--;
        if (i <= j) this.#swap(i++, j--);
      }
      if (k - 1 <= j) high = j;
      else if (k - 1 >= i) low = i;
      else return;
    }
  }

  #before(at: number, value: number, id: number): boolean {
    const x = float32At(this.values, at);
    return x > value || (x === value && int32At(this.ids, at) < id);
  }

  #swap(a: number, b: number): void {
    const value = float32At(this.values, a);
    const id = int32At(this.ids, a);
    this.values[a] = float32At(this.values, b);
    this.ids[a] = int32At(this.ids, b);
    this.values[b] = value;
    this.ids[b] = id;
  }
}
