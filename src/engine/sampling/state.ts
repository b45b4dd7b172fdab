/** One sequence's sampling state: its parameters, its random stream and its logits processors. Chooses nothing. */

import { LorikeetError } from "../../base/errors.js";
import type { SamplingParams } from "../types.js";
import { AllowedTokens } from "./processors/allowed-tokens.js";
import { GrammarMask } from "./processors/grammar-mask.js";
import { LogitBias } from "./processors/logit-bias.js";
import { MinTokens } from "./processors/min-tokens.js";
import { Penalties } from "./processors/penalties.js";
import type { LogitsProcessor } from "./processors/processor.js";
import { RandomStream } from "./random.js";

export class SamplerState {
  readonly params: SamplingParams;
  readonly random: RandomStream;
  /** Applied in this order. */
  readonly #processors: readonly LogitsProcessor[];
  /** The largest id that the parameters or the prompt name. */
  readonly #largestId: number;
  readonly #grammar: GrammarMask | null;
  #generated = 0;

  /** `grammar` is applied after all others. */
  constructor(
    params: SamplingParams,
    processors: readonly LogitsProcessor[],
    largestId: number,
    grammar: GrammarMask | null = null,
  ) {
    this.params = params;
    this.random = new RandomStream(params.seed);
    this.#processors = grammar ? [...processors, grammar] : processors;
    this.#grammar = grammar;
    this.#largestId = largestId;
  }

  /** Tokens generated so far: the index of the next one. */
  get generated(): number {
    return this.#generated;
  }

  /** The text of its grammar is complete, and nothing may follow. */
  get isOver(): boolean {
    return this.#grammar?.isOver ?? false;
  }

  /** Whether a processor changes the next row of logits. */
  get changesLogits(): boolean {
    return this.#processors.some(({ isIdle }) => !isIdle);
  }

  /**
   * The row to choose from: `logits` [vocab] itself where no processor changes it, else `scratch` [vocab] with what they make of
   * it. Throws `invalid_value` for an id outside the vocabulary.
   */
  adjust(logits: Float32Array, scratch: Float32Array): Float32Array {
    let row = logits;
    for (const processor of this.#processors) {
      if (processor.isIdle) continue;
      if (row === logits) {
        this.#checkIds(logits.length);
        scratch.set(logits);
        row = scratch;
      }
      processor.apply(row);
    }
    return row;
  }

  /** Records that token `id` was generated. */
  accept(id: number): void {
    this.#generated++;
    for (const processor of this.#processors) processor.accept(id);
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

/** The sampler's memory of one sequence. A null seed takes one from the system. */
export function createSamplerState(params: SamplingParams, promptIds: readonly number[]): SamplerState {
  const { allowedIds, logitBias, heldIds, minTokens } = params;
  const { repetitionPenalty, presencePenalty, frequencyPenalty } = params;
  const processors: LogitsProcessor[] = [];
  const named: Iterable<number>[] = [];
  const add = (processor: LogitsProcessor, ids: Iterable<number>): void => {
    processors.push(processor);
    named.push(ids);
  };
  if (allowedIds !== null) add(new AllowedTokens(allowedIds), allowedIds);
  if (logitBias.size > 0) add(new LogitBias(logitBias), logitBias.keys());
  if (repetitionPenalty !== 1 || presencePenalty !== 0 || frequencyPenalty !== 0) {
    add(new Penalties(params, promptIds), promptIds);
  }
  if (minTokens > 0 && heldIds.length > 0) add(new MinTokens(minTokens, heldIds), heldIds);
  let largestId = -1;
  for (const ids of named) for (const id of ids) largestId = Math.max(largestId, id);
  const grammar = params.grammar && new GrammarMask(params.grammar.begin(), params.grammarEndIds);
  return new SamplerState(params, processors, largestId, grammar);
}
