/**
 * Chooses the next token of a sequence from its row of logits. Owns one scratch for all sequences and allocates nothing per
 * token but the log-probabilities that are asked for. Steps, in vLLM's order:
 *
 *   logits processors (allowed tokens, bias, penalties, min tokens) | temperature | min-p | top-k | top-p | draw
 *
 * Temperature comes first: the filters act on the tempered distribution. min-p looks at all of it, top-k takes the best of
 * what min-p left, top-p its share of what both left, renormalised. Ties: tokens have one order, larger logit first, then
 * lower id. Greedy takes the first, top-k exactly the first k, top-p the shortest prefix that weighs topP, at least one
 * token; min-p keeps or drops equals alike. So temperature 0, top-k 1 and top-p 0 all give the same token.
 */

import { assert } from "../../base/errors.js";
import { float32At, int32At } from "../../base/list.js";
import type { SamplingParams, TokenLogprob } from "../types.js";
import { rankOf, tokenLogprob } from "./logprobs.js";
import { candidateFloor, Nucleus } from "./nucleus.js";
import { TokenPool } from "./pool.js";
import { argmax } from "./scan.js";
import type { SamplerState } from "./state.js";

export { createSamplerState, SamplerState } from "./state.js";

/** Below this temperature the best token is taken, as in vLLM: dividing by less could overflow. */
const greedyBelow = 1e-5;

const isGreedy = ({ temperature, topK, topP }: SamplingParams): boolean =>
  temperature < greedyBelow || topK === 1 || topP <= 0;

export interface SampleResult {
  readonly id: number;
  /** Of the unmodified logits; null where the request asked for none. */
  readonly logprob: TokenLogprob | null;
}

export class Sampler {
  readonly vocabSize: number;
  /** A row as the logits processors leave it. */
  readonly #adjusted: Float32Array;
  readonly #pool: TokenPool;
  readonly #nucleus = new Nucleus();
  readonly #row: { values: Float32Array; ids: null; count: number; floor: number };
  readonly #result: { id: number; logprob: TokenLogprob | null } = { id: 0, logprob: null };

  constructor(vocabSize: number) {
    this.vocabSize = vocabSize;
    this.#adjusted = new Float32Array(vocabSize);
    this.#pool = new TokenPool(vocabSize);
    this.#row = { values: this.#adjusted, ids: null, count: vocabSize, floor: Number.NEGATIVE_INFINITY };
  }

  /**
   * The next token of the sequence, noted in its state; `logits` [vocab] stay as they are. The result is one object, filled
   * by every call: copy what you need of it at once. Throws `runtime_failed` for a row with NaN or +Infinity, or with
   * nothing above -Infinity, and then leaves the state as it was.
   */
  sample(logits: Float32Array, state: SamplerState): SampleResult {
    this.#check(logits);
    const { params } = state;
    const id = this.#choose(state.adjust(logits, this.#adjusted), state);
    this.#result.id = id;
    this.#result.logprob = params.logprobs === null ? null : tokenLogprob(logits, id, params.logprobs, this.#pool);
    state.accept(id);
    return this.#result;
  }

  /** Whether the next token is the likeliest, and nothing else of the logits is asked for. */
  takesLikeliest({ params, changesLogits }: SamplerState): boolean {
    return params.logprobs === null && !changesLogits && isGreedy(params);
  }

  /** log p of token `id` under the unmodified `logits` [vocab], its rank, and the k best; as `sample` reports them. */
  tokenLogprob(logits: Float32Array, id: number, k: number): TokenLogprob {
    this.#check(logits);
    return { ...tokenLogprob(logits, id, k, this.#pool), rank: rankOf(logits, id) };
  }

  #choose(row: Float32Array, state: SamplerState): number {
    const { params, random } = state;
    const { topK } = params;
    if (isGreedy(params)) return argmax(row);
    random.seek(state.generated);
    if (topK > 0 && topK < this.vocabSize) {
      const pool = this.#pool;
      pool.best(row, topK);
      const leader = pool.leader;
      return this.#nucleus.draw(pool, pool, float32At(pool.values, leader), int32At(pool.ids, leader), params, random);
    }
    const bestId = argmax(row);
    const best = float32At(row, bestId);
    this.#row.values = row;
    const candidates = this.#pool.above(row, candidateFloor(best, params)) ? this.#pool : this.#row;
    return this.#nucleus.draw(candidates, this.#row, best, bestId, params, random);
  }

  #check(logits: Float32Array): void {
    assert(logits.length === this.vocabSize, `a row of ${logits.length} logits for a vocabulary of ${this.vocabSize}`);
  }
}
