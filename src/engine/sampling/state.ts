/**
 * What one sequence brings to sampling: its parameters, its random stream, and how often it has used each token. Applies
 * bias and penalties to a row; knows nothing of temperature or of choosing.
 */

import { LorikeetError } from "../../base/errors.js";
import type { SamplingParams } from "../types.js";
import { RandomStream } from "./random.js";

/** The largest float32. */
const largestLogit = (2 - 2 ** -23) * 2 ** 127;

export class SamplerState {
  readonly params: SamplingParams;
  readonly random: RandomStream;
  readonly #biasIds: Int32Array;
  readonly #biases: Float64Array;
  /** Shared by all choices of a request: it may be as long as the vocabulary. */
  readonly #allowedIds: readonly number[] | null;
  readonly #heldIds: readonly number[];
  readonly #penalizes: boolean;
  /** Place in `#ids` and `#outputs` of each distinct token seen. */
  readonly #places = new Map<number, number>();
  #ids = new Int32Array(64);
  /** How often the place's token was generated; 0 for a token of the prompt only. */
  #outputs = new Int32Array(64);
  #largestId = -1;
  #generated = 0;

  constructor(params: SamplingParams, promptIds: readonly number[]) {
    this.params = params;
    this.random = new RandomStream(params.seed);
    this.#biasIds = Int32Array.from(params.logitBias.keys());
    this.#biases = Float64Array.from(params.logitBias.values());
    this.#allowedIds = params.allowedIds;
    this.#heldIds = params.minTokens > 0 ? params.heldIds : [];
    for (const ids of [this.#biasIds, this.#allowedIds ?? [], this.#heldIds]) {
      for (const id of ids) this.#largestId = Math.max(this.#largestId, id);
    }
    this.#penalizes = params.repetitionPenalty !== 1 || params.presencePenalty !== 0 || params.frequencyPenalty !== 0;
    // Only the repetition penalty looks at the prompt.
    if (params.repetitionPenalty !== 1) for (const id of promptIds) this.#place(id);
  }

  /** Tokens generated so far: the index of the next one. */
  get generated(): number {
    return this.#generated;
  }

  /**
   * The row to choose from: `logits` [vocab] itself where nothing changes it, else `scratch` [vocab] with, in this order,
   * all but the allowed ids at -Infinity; bias added; the repetition penalty r over prompt and output (x / r for x > 0, else x * r); frequency * count + presence
   * taken off each token of the output; before the least number of tokens, the ids that would end it at -Infinity.
   * Throws `invalid_value` for an id outside the vocabulary.
   */
  adjust(logits: Float32Array, scratch: Float32Array): Float32Array {
    const holds = this.#heldIds.length > 0 && this.#generated < this.params.minTokens;
    if (this.#biasIds.length === 0 && this.#places.size === 0 && this.#allowedIds === null && !holds) return logits;
    this.#checkIds(logits.length);
    if (this.#allowedIds === null) scratch.set(logits);
    else takeOnly(this.#allowedIds, logits, scratch);
    for (let i = 0; i < this.#biasIds.length; i++) {
      const id = this.#biasIds[i] ?? 0;
      scratch[id] = (scratch[id] ?? 0) + (this.#biases[i] ?? 0);
    }
    const { repetitionPenalty, presencePenalty, frequencyPenalty } = this.params;
    for (let place = 0; place < this.#places.size; place++) {
      const id = this.#ids[place] ?? 0;
      const count = this.#outputs[place] ?? 0;
      const x = scratch[id] ?? 0;
      const repeated = x > 0 ? x / repetitionPenalty : x * repetitionPenalty;
      const value = count === 0 ? repeated : repeated - frequencyPenalty * count - presencePenalty;
      // A finite logit stays finite: an overflow by a penalty would not be the model's fault.
      scratch[id] = Number.isFinite(x) ? Math.max(-largestLogit, Math.min(largestLogit, value)) : value;
    }
    if (holds) for (const id of this.#heldIds) scratch[id] = Number.NEGATIVE_INFINITY;
    return scratch;
  }

  /** Notes that token `id` was generated. */
  accept(id: number): void {
    this.#generated++;
    if (!this.#penalizes) return;
    const place = this.#place(id);
    this.#outputs[place] = (this.#outputs[place] ?? 0) + 1;
  }

  #place(id: number): number {
    const known = this.#places.get(id);
    if (known !== undefined) return known;
    const place = this.#places.size;
    if (place === this.#ids.length) {
      this.#ids = grown(this.#ids);
      this.#outputs = grown(this.#outputs);
    }
    this.#ids[place] = id;
    this.#outputs[place] = 0;
    this.#places.set(id, place);
    this.#largestId = Math.max(this.#largestId, id);
    return place;
  }

  #checkIds(vocabSize: number): void {
    if (this.#largestId < vocabSize) return;
    throw new LorikeetError(
      "invalid_value",
      `Token ${this.#largestId} is named by the request, but the vocabulary ends at ${vocabSize - 1}.`,
      { param: "logit_bias", found: this.#largestId, allowed: `0 to ${vocabSize - 1}` },
    );
  }
}

function takeOnly(ids: readonly number[], logits: Float32Array, scratch: Float32Array): void {
  scratch.fill(Number.NEGATIVE_INFINITY);
  for (const id of ids) scratch[id] = logits[id] ?? Number.NEGATIVE_INFINITY;
}

function grown(array: Int32Array): Int32Array<ArrayBuffer> {
  const larger = new Int32Array(2 * array.length);
  larger.set(array);
  return larger;
}

/** The sampler's memory of one sequence. A null seed takes one from the system. */
export function createSamplerState(params: SamplingParams, promptIds: readonly number[]): SamplerState {
  return new SamplerState(params, promptIds);
}
