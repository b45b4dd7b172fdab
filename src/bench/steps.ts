/**
 * Benchmarks an engine's steps without requests: the runner and the sampler, as the step loop uses them, over slots of real
 * tokens. Every step decodes the same position, so that all cost the same.
 */

import { assert } from "../base/errors.js";
import { at, valueAt } from "../base/list.js";
import { median } from "../base/median.js";
import { AdapterBank, type BankHold } from "../engine/adapters/bank.js";
import { placeBytes } from "../engine/adapters/bank-class.js";
import type { DecodeRow } from "../engine/runner.js";
import { createSamplerState, Sampler } from "../engine/sampling/sampler.js";
import type { Grammar } from "../grammar/grammar.js";
import type { ModuleGroup } from "../model/serving/adapters.js";
import type { DecoderConfig } from "../model/types.js";
import type { Contender } from "./interleave.js";
import {
  type AdapterSet,
  caseId,
  chunkTokens,
  contextTokens,
  type DecodeCase,
  type Effort,
  maxRows,
  type PrefillCase,
  type StepCase,
  samplings,
  setRanks,
} from "./plan.js";
import { randomAdapters } from "./random-adapter.js";
import type { BenchStack } from "./stack.js";

/** The adapters of each set in separate banks, so that a set does not pay for another's rank. */
export interface HeldSets {
  readonly holds: ReadonlyMap<AdapterSet, readonly BankHold[]>;
  bankOf(set: AdapterSet): AdapterBank;
}

/** The sets of each bank; a set of one adapter is part of a larger one. */
const homes: readonly (readonly AdapterSet[])[] = [
  ["distinct", "shared", "base"],
  ["distinct r64", "shared r64"],
  ["15 r8 + r64", "16 r8"],
];

/** Fills the banks. `groups` are equal for all forms of the weights, so all share them. */
export async function holdSets(config: DecoderConfig, groups: readonly ModuleGroup[]): Promise<HeldSets> {
  const holds = new Map<AdapterSet, readonly BankHold[]>();
  const banks = new Map<AdapterSet, AdapterBank>();
  for (const sets of homes) {
    const bank = new AdapterBank({ groups, places: maxRows, maxBytes: Number.MAX_SAFE_INTEGER });
    for (const set of sets) {
      holds.set(set, await holdSet(bank, config, setRanks[set]));
      banks.set(set, bank);
    }
  }
  return {
    holds,
    bankOf(set) {
      const bank = banks.get(set);
      assert(bank, `the adapters of ${set} are held`);
      return bank;
    },
  };
}

async function holdSet(bank: AdapterBank, config: DecoderConfig, ranks: readonly number[]): Promise<BankHold[]> {
  const holds: BankHold[] = [];
  for (const rank of [...new Set(ranks)].sort((a, b) => a - b)) {
    for (const adapter of randomAdapters(config, rank, ranks.filter((other) => other === rank).length)) {
      const hold = await bank.acquire(adapter);
      assert(hold, "the bank has room for the benchmark's adapters");
      holds.push(hold);
    }
  }
  return holds;
}

/** Bytes in fp32 of the adapters that a step of `rows` rows reads. */
function adapterBytesOf(groups: readonly ModuleGroup[], set: AdapterSet, rows: number): number {
  return setRanks[set].slice(0, rows).reduce((sum, rank) => sum + placeBytes(groups, rank), 0);
}

/** The length of a sample. */
type StepEffort = Pick<Effort, "steps" | "sampleMs">;

/** Runs steps of one stack, whose engine must stay idle. */
export class StepBench {
  readonly #stack: BenchStack;
  readonly #sets: HeldSets;
  readonly #grammar: Grammar;
  readonly #sampler: Sampler;
  readonly #effort: StepEffort;

  /** `grammar` holds masked rows. */
  constructor(stack: BenchStack, sets: HeldSets, effort: StepEffort, grammar: Grammar) {
    this.#stack = stack;
    this.#sets = sets;
    this.#grammar = grammar;
    this.#sampler = new Sampler(stack.checkpoint.config.vocabSize);
    this.#effort = effort;
  }

  /** Puts `contextTokens` real tokens into every slot, since unwritten memory reads too fast. */
  async fill(): Promise<void> {
    const { runner, cache } = this.#stack.started.steps;
    const bank = this.#sets.bankOf("base");
    await runner.prefill(
      { slot: 0, start: 0, tokens: this.#tokens, length: this.#tokens.length, allRows: false, adapter: null },
      cache,
      bank,
    );
    for (let slot = 1; slot < maxRows; slot++) await cache.copy(0, slot, contextTokens + 1);
  }

  /** A contender that samples a case's tokens per second over several steps. */
  contender(step: StepCase): Contender {
    const sample = step.kind === "decode" ? this.#decode(step) : this.#prefill(step);
    return { id: caseId(step), unit: "tokens/s", sample };
  }

  /** Bytes that one step of a case reads: the weights in their form, the slots' tokens, the adapters. */
  bytesOf(step: StepCase): number {
    const { runner, cache } = this.#stack.started.steps;
    const [rows, tokens] = step.kind === "decode" ? [step.rows, contextTokens + 1] : [1, chunkTokens];
    const adapters = adapterBytesOf(runner.groups, step.set, step.kind === "decode" ? step.rows : 1);
    return this.#stack.started.weightBytes + rows * tokens * cache.bytesPerToken + adapters;
  }

  #decode({ set, rows: count, sampling }: DecodeCase): () => Promise<number> {
    const { runner, cache } = this.#stack.started.steps;
    const { vocabSize } = this.#stack.checkpoint.config;
    const bank = this.#sets.bankOf(set);
    const holds = valueAt(this.#sets.holds, set);
    const grammar = sampling === "masked" ? this.#grammar : null;
    const begin = (seed: number) => createSamplerState({ ...samplings[sampling], seed, grammar }, []);
    const states = Array.from({ length: count }, (_, i) => begin(i + 1));
    const last = new Array<number>(count).fill(5);
    const row = (i: number): DecodeRow => ({
      token: at(last, i),
      length: contextTokens,
      adapter: holds.length === 0 ? null : at(holds, holds.length === 1 ? 0 : i),
    });
    const step = async (): Promise<void> => {
      const logits = await runner.decode(
        last.map((_, i) => row(i)),
        cache,
        bank,
      );
      for (const [i, state] of states.entries()) {
        last[i] = this.#sampler.sample(logits.subarray(i * vocabSize, (i + 1) * vocabSize), state).id;
        if (state.isOver) states[i] = begin(i + 1);
      }
    };
    return async () => (count * 1000) / (await this.#time(step));
  }

  #prefill({ set }: PrefillCase): () => Promise<number> {
    const { runner, cache } = this.#stack.started.steps;
    const bank = this.#sets.bankOf(set);
    const adapter = valueAt(this.#sets.holds, set)[0] ?? null;
    const chunk = { slot: 0, start: 0, tokens: this.#tokens, length: this.#tokens.length, allRows: false, adapter };
    const step = async (): Promise<void> => {
      await runner.prefill(chunk, cache, bank);
    };
    return async () => (chunkTokens * 1000) / (await this.#time(step));
  }

  /** Median milliseconds of a sample's steps, after uncounted steps that rebind and let other sessions' threads go idle. */
  async #time(step: () => Promise<void>): Promise<number> {
    await this.#repeat(step, 1);
    return median(await this.#repeat(step, this.#effort.steps));
  }

  /** Milliseconds of each of at least `steps` steps, which together take at least `sampleMs`. */
  async #repeat(step: () => Promise<void>, steps: number): Promise<number[]> {
    const times: number[] = [];
    for (let total = 0; times.length < steps || total < this.#effort.sampleMs; ) {
      const started = performance.now();
      await step();
      const took = performance.now() - started;
      times.push(took);
      total += took;
    }
    return times;
  }

  get #tokens(): number[] {
    const { vocabSize } = this.#stack.checkpoint.config;
    return Array.from({ length: chunkTokens }, (_, i) => (i * 7919 + 11) % vocabSize);
  }
}
