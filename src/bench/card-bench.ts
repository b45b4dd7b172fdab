/**
 * `lorikeet bench engine` on a card: decode steps of up to 64 rows over up to 64 adapters, prompts, its memory bandwidth and the
 * time to copy an adapter to it. The caller opens every stack, as `serve` does.
 */

import { assert } from "../base/errors.js";
import { at } from "../base/list.js";
import type { Progress } from "../base/log.js";
import { median } from "../base/median.js";
import type { BankHold } from "../engine/adapters/bank.js";
import { type Bank, openPool } from "../engine/adapters/pool.js";
import { tileBytes } from "../engine/adapters/tile-stack.js";
import { createSamplerState, Sampler } from "../engine/sampling/sampler.js";
import type { BaseDtype } from "../engine/start.js";
import { greedy } from "../engine/types.js";
import { tileRanks } from "../model/serving/stacked-adapters.js";
import { CardBandwidth, cardReadMethod } from "./card-bandwidth.js";
import {
  activationId,
  type CardStep,
  cardBandwidthId,
  cardContextTokens,
  cardMovedId,
  cardRank,
  cardRules,
  cardSlotTokens,
  cardStepId,
  cardSteps,
  maxCardRows,
} from "./card-plan.js";
import { type Contender, interleave } from "./interleave.js";
import { prepareModel } from "./materials.js";
import { type Effort, efforts } from "./plan.js";
import { randomAdapters } from "./random-adapter.js";
import { computeRatios, type Ratio } from "./ratios.js";
import { ratioOf, type Series, SeriesBook, type Spread, spreadOf } from "./series.js";
import type { BenchShape } from "./shapes.js";
import type { BenchStack, OpenStack } from "./stack.js";

export interface CardBenchOptions {
  readonly shape: BenchShape;
  readonly dtypes: readonly [BaseDtype, ...BaseDtype[]];
  readonly quick: boolean;
  readonly cacheDirectory: string;
  readonly openStack: OpenStack;
  readonly progress?: Progress;
}

export interface CardCell {
  readonly id: string;
  readonly step: CardStep;
  readonly tokensPerSecond: Spread;
  /** Bytes read per second, as a share of the bandwidth. */
  readonly bandwidthShare: number;
}

export interface CardReport {
  readonly device: { readonly name: string; readonly software: boolean; readonly memoryBytes: number | null };
  readonly shape: BenchShape;
  readonly parameters: number;
  readonly effort: Effort;
  readonly contextTokens: number;
  readonly rank: number;
  readonly weightBytes: Readonly<Record<string, number>>;
  readonly bandwidth: Readonly<Record<string, Spread>>;
  readonly bandwidthMethod: string;
  /** Milliseconds to copy one adapter to the card. */
  readonly activationMs: Readonly<Record<string, Spread>>;
  readonly adapterBytes: number;
  readonly cells: readonly CardCell[];
  readonly ratios: readonly Ratio[];
  readonly series: readonly Series[];
}

/** One form of the weights after another: a card may not have room for two. */
export async function runCardBench(options: CardBenchOptions): Promise<CardReport> {
  const { shape, dtypes, progress } = options;
  const effort: Effort = shape === "tiny" ? efforts.trial : options.quick ? efforts.quick : efforts.full;
  const model = await prepareModel(options.cacheDirectory, shape, progress);
  const measured: Measured[] = [];
  for (const dtype of dtypes) {
    await using stack = await options.openStack({
      ...{ model, adapters: null, dtype, maxBatch: maxCardRows, maxContext: cardSlotTokens },
      adapterBytes: 2 ** 20, // the benchmark's own bank has the adapters
    });
    measured.push(await measureForm(stack, dtype, effort, progress));
  }
  const first = at(measured, 0);
  const byDtype = <T>(value: (form: Measured) => T): Readonly<Record<string, T>> =>
    Object.fromEntries(measured.map((form) => [form.dtype, value(form)]));
  return {
    device: first.device,
    shape,
    parameters: first.parameters,
    effort,
    contextTokens: cardContextTokens,
    rank: cardRank,
    weightBytes: byDtype(({ weightBytes }) => weightBytes),
    bandwidth: byDtype(({ book }) => spreadOf(book.get(cardBandwidthId).samples)),
    bandwidthMethod: cardReadMethod,
    activationMs: byDtype(({ book }) => spreadOf(book.get(activationId).samples)),
    adapterBytes: first.adapterBytes,
    cells: measured.flatMap(({ cells }) => cells),
    ratios: measured.flatMap(({ dtype, book }) => computeRatios(cardRules(dtype), book)),
    series: measured.flatMap(({ book }) => book.all()),
  };
}

interface Measured {
  readonly dtype: BaseDtype;
  readonly device: CardReport["device"];
  readonly parameters: number;
  readonly weightBytes: number;
  readonly adapterBytes: number;
  readonly book: SeriesBook;
  readonly cells: readonly CardCell[];
}

async function measureForm(
  stack: BenchStack,
  dtype: BaseDtype,
  effort: Effort,
  progress?: Progress,
): Promise<Measured> {
  const { device, checkpoint, started } = stack;
  const { groups } = started.steps.runner;
  const { activationType: type } = started;
  await using bank = openPool({ groups, places: maxCardRows, maxBytes: Number.MAX_SAFE_INTEGER, device, type });
  const activations: number[] = [];
  const holds: BankHold[] = [];
  for (const adapter of randomAdapters(checkpoint.config, cardRank, maxCardRows)) {
    progress?.("copying adapters to the card", holds.length, maxCardRows);
    const began = performance.now();
    const hold = await bank.acquire(adapter);
    activations.push(performance.now() - began);
    assert(hold, "the bank has a place for every row");
    holds.push(hold);
  }
  const steps = new CardSteps(stack, bank, holds, effort);
  await steps.fill();
  await using bandwidth = await CardBandwidth.open(device, effort.readBytes / 4);
  const cases = cardSteps(dtype);
  const contenders: Contender[] = [
    { id: cardBandwidthId, unit: "bytes/s", sample: () => bandwidth.sample() },
    ...cases.map((step) => ({ id: cardStepId(step), unit: "tokens/s", sample: steps.sampler(step) })),
  ];
  const { rounds } = effort;
  const what = `measuring ${dtype} on the card`;
  const book = new SeriesBook();
  // Kernels compile in the first round.
  for (const series of await interleave(contenders, { rounds, warmups: 1, what, ...(progress ? { progress } : {}) })) {
    book.add(series);
  }
  // The first adapter also creates its rank class.
  book.add({ id: activationId, unit: "ms", samples: activations.slice(1) });
  const adapterBytes = (cardRank / tileRanks) * tileBytes(groups, type);
  const cells = cases.map((step): CardCell => {
    const perToken = steps.bytesOf(step, adapterBytes) / step.rows;
    book.derive(cardMovedId(step), "bytes/s", cardStepId(step), (tokens) => tokens * perToken);
    const bandwidthShare = ratioOf(book.get(cardMovedId(step)), book.get(cardBandwidthId)).median;
    const tokensPerSecond = spreadOf(book.get(cardStepId(step)).samples);
    return { id: cardStepId(step), step, tokensPerSecond, bandwidthShare };
  });
  const { name, software, memoryBytes } = device;
  return {
    dtype,
    device: { name, software, memoryBytes },
    parameters: checkpoint.parameterCount,
    weightBytes: started.weightBytes,
    adapterBytes,
    book,
    cells,
  };
}

/** Steps of one stack, whose engine stays idle. Every step decodes the same position, so that all cost the same. */
class CardSteps {
  readonly #stack: BenchStack;
  readonly #bank: Bank;
  readonly #holds: readonly BankHold[];
  readonly #effort: Effort;
  readonly #prompt: readonly number[];

  constructor(stack: BenchStack, bank: Bank, holds: readonly BankHold[], effort: Effort) {
    this.#stack = stack;
    this.#bank = bank;
    this.#holds = holds;
    this.#effort = effort;
    const { vocabSize } = stack.checkpoint.config;
    this.#prompt = Array.from({ length: cardContextTokens }, (_, i) => (i * 7919 + 11) % vocabSize);
  }

  /** Puts real tokens into every slot. */
  async fill(): Promise<void> {
    await this.#prefill(null);
    const { cache } = this.#stack.started.steps;
    for (let slot = 1; slot < maxCardRows; slot++) await cache.copy(0, slot, cardContextTokens + 1);
  }

  /** Bytes that a step has to read: the weights, the keys and values of its rows, each adapter once. */
  bytesOf({ kind, rows, adapters }: CardStep, adapterBytes: number): number {
    const { cache } = this.#stack.started.steps;
    const slots = kind === "decode" ? rows : 1;
    const tokens = slots * (cardContextTokens + 1);
    return this.#stack.started.weightBytes + tokens * cache.bytesPerToken + adapters * adapterBytes;
  }

  /** Samples a step's tokens per second. */
  sampler(step: CardStep): () => Promise<number> {
    const once = step.kind === "decode" ? this.#decode(step) : () => this.#prefill(step.adapters === 0 ? null : 0);
    return async () => (step.rows * 1000) / (await this.#time(once));
  }

  #decode({ rows, adapters }: CardStep): () => Promise<void> {
    const { runner, cache } = this.#stack.started.steps;
    const { vocabSize } = this.#stack.checkpoint.config;
    const sampler = new Sampler(vocabSize);
    const states = Array.from({ length: rows }, () => createSamplerState(greedy, []));
    const last = new Array<number>(rows).fill(5);
    return async () => {
      const batch = last.map((token, row) => {
        const adapter = adapters === 0 ? null : at(this.#holds, row % adapters);
        return { token, length: cardContextTokens, adapter };
      });
      const found = await runner.decodeLikeliest(batch, cache, this.#bank); // as the engine decodes greedy rows
      for (const [row, state] of states.entries()) {
        last[row] =
          found instanceof Float32Array
            ? sampler.sample(found.subarray(row * vocabSize, (row + 1) * vocabSize), state).id
            : at(found, row);
      }
    };
  }

  /** A whole prompt, in chunks as long as the card allows. */
  async #prefill(adapter: number | null): Promise<void> {
    const { runner, cache } = this.#stack.started.steps;
    const { maxChunk } = this.#stack.started;
    const hold = adapter === null ? null : at(this.#holds, adapter);
    for (let start = 0; start < this.#prompt.length; start += maxChunk) {
      const tokens = this.#prompt.slice(start, start + maxChunk);
      const chunk = { slot: 0, start, tokens, length: this.#prompt.length, allRows: false, adapter: hold };
      await runner.prefill(chunk, cache, this.#bank);
    }
  }

  /** Median milliseconds of at least `steps` steps, after an uncounted one. */
  async #time(step: () => Promise<void>): Promise<number> {
    const { steps, sampleMs } = this.#effort;
    await step();
    const times: number[] = [];
    for (let total = 0; times.length < steps || total < sampleMs; ) {
      const began = performance.now();
      await step();
      const took = performance.now() - began;
      times.push(took);
      total += took;
    }
    return median(times);
  }
}
