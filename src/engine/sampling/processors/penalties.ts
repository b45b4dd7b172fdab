/**
 * The three penalties of tokens that were seen before: repetition r over prompt and output (x / r for x > 0, else x * r), then
 * frequency * count + presence taken off each token of the output.
 */

import { float32At, int32At } from "../../../base/list.js";
import type { SamplingParams } from "../../types.js";
import type { LogitsProcessor } from "./processor.js";

/** The largest float32. */
const largestLogit = (2 - 2 ** -23) * 2 ** 127;

type PenaltyParams = Pick<SamplingParams, "repetitionPenalty" | "presencePenalty" | "frequencyPenalty">;

export class Penalties implements LogitsProcessor {
  readonly #params: PenaltyParams;
  /** Index in `#ids` and `#counts` of each distinct token seen. */
  readonly #indices = new Map<number, number>();
  #ids = new Int32Array(64);
  /** How often the token was generated; 0 if it is only in the prompt. */
  #counts = new Int32Array(64);

  constructor(params: PenaltyParams, promptIds: readonly number[]) {
    this.#params = params;
    // Only the repetition penalty looks at the prompt.
    if (params.repetitionPenalty !== 1) for (const id of promptIds) this.#indexOf(id);
  }

  get isIdle(): boolean {
    return this.#indices.size === 0;
  }

  apply(row: Float32Array): void {
    const { repetitionPenalty, presencePenalty, frequencyPenalty } = this.#params;
    for (let index = 0; index < this.#indices.size; index++) {
      const id = int32At(this.#ids, index);
      const count = int32At(this.#counts, index);
      const x = float32At(row, id);
      const repeated = x > 0 ? x / repetitionPenalty : x * repetitionPenalty;
      const value = count === 0 ? repeated : repeated - frequencyPenalty * count - presencePenalty;
      // A finite logit stays finite: an overflow by a penalty would not be the model's fault.
      row[id] = Number.isFinite(x) ? Math.max(-largestLogit, Math.min(largestLogit, value)) : value;
    }
  }

  accept(token: number): void {
    const index = this.#indexOf(token);
    this.#counts[index] = int32At(this.#counts, index) + 1;
  }

  #indexOf(id: number): number {
    const known = this.#indices.get(id);
    if (known !== undefined) return known;
    const index = this.#indices.size;
    if (index === this.#ids.length) {
      this.#ids = grown(this.#ids);
      this.#counts = grown(this.#counts);
    }
    this.#ids[index] = id;
    this.#counts[index] = 0;
    this.#indices.set(id, index);
    return index;
  }
}

function grown(array: Int32Array): Int32Array<ArrayBuffer> {
  const larger = new Int32Array(2 * array.length);
  larger.set(array);
  return larger;
}
