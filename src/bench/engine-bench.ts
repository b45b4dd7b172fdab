/**
 * `lorikeet bench engine`: prepares the model and adapters, measures steps, service, starts and memory, and reports numbers and
 * ratios. The caller opens every stack, as `serve` does.
 */

import { availableParallelism, cpus } from "node:os";
import type { Progress } from "../base/log.js";
import type { BaseDtype } from "../engine/start.js";
import { ReadTest, readTestMethod } from "./bandwidth.js";
import { Clients } from "./clients.js";
import { jsonGrammar } from "./grammar.js";
import { interleave } from "./interleave.js";
import { type Materials, prepareMaterials } from "./materials.js";
import { measureActiveMemory, measureHostMemory } from "./memory.js";
import { caseId, contextTokens, type Effort, efforts, maxRows, type StepCase, slotTokens, stepCases } from "./plan.js";
import { batchAdaptersId, computeRatios, movedId, type Ratio, ratioRules, readBandwidthId } from "./ratios.js";
import { ratioOf, type Series, SeriesBook, type Spread, spreadOf } from "./series.js";
import { adapterContenders, BenchServer, baseContenders } from "./service.js";
import type { BenchShape } from "./shapes.js";
import type { BenchStack, OpenStack } from "./stack.js";
import { StartBench } from "./starts.js";
import { StepLog } from "./step-log.js";
import { holdSets, StepBench } from "./steps.js";

export interface EngineBenchOptions {
  readonly shape: BenchShape;
  readonly dtypes: readonly [BaseDtype, ...BaseDtype[]];
  readonly threads: number;
  readonly quick: boolean;
  /** Where the model, the adapters and the converted weights are cached. */
  readonly cacheDirectory: string;
  readonly openStack: OpenStack;
  readonly progress?: Progress;
}

/** A measured step: its case, its speed and the bytes it read. */
export interface StepCell {
  readonly id: string;
  readonly step: StepCase;
  readonly tokensPerSecond: Spread;
  readonly bytesPerStep: number;
  /** Bytes read per second, as a share of the read bandwidth. */
  readonly bandwidthShare: number;
}

export interface EngineReport {
  readonly machine: { readonly cpu: string; readonly cores: number; readonly node: string };
  readonly shape: BenchShape;
  readonly parameters: number;
  readonly threads: number;
  readonly effort: Effort;
  readonly contextTokens: number;
  readonly slotTokens: number;
  readonly weightBytes: Readonly<Record<string, number>>;
  /** Bytes per second. */
  readonly readTest: Spread & { readonly bytes: number; readonly how: string };
  readonly cells: readonly StepCell[];
  readonly series: readonly (Series & Spread)[];
  readonly ratios: readonly Ratio[];
  /** The model and adapters, for running another engine on them. */
  readonly materials: Materials;
}

/** Runs the benchmark. */
export async function runEngineBench(options: EngineBenchOptions): Promise<EngineReport> {
  const { shape, dtypes, threads, progress } = options;
  const effort: Effort = shape === "tiny" ? efforts.trial : options.quick ? efforts.quick : efforts.full;
  const materials = await prepareMaterials(options.cacheDirectory, shape, progress);
  const log = new StepLog();
  await using stacks = new Stacks(options.openStack, materials);
  for (const [i, dtype] of dtypes.entries()) await stacks.open(dtype, i === 0 ? log : null);
  const book = new SeriesBook();
  const cells = await measureSteps(stacks.all, book, effort, threads, progress);
  for (const series of await measureService(stacks, log, effort, progress)) book.add(series);
  const { checkpoint } = stacks.first;
  return {
    machine: { cpu: cpus()[0]?.model ?? "unknown", cores: availableParallelism(), node: process.version },
    shape,
    parameters: checkpoint.parameterCount,
    threads,
    effort,
    contextTokens,
    slotTokens,
    weightBytes: Object.fromEntries(stacks.all.map(({ dtype, stack }) => [dtype, stack.started.weightBytes])),
    readTest: { bytes: effort.readBytes, how: readTestMethod, ...spreadOf(book.get(readBandwidthId).samples) },
    cells,
    series: book.all().map((series) => ({ ...series, ...spreadOf(series.samples) })),
    ratios: computeRatios(ratioRules(dtypes), book),
    materials,
  };
}

interface FormStack {
  readonly dtype: BaseDtype;
  readonly stack: BenchStack;
}

/** One stack for each form of the weights; the first one has the adapters and serves requests. */
class Stacks implements AsyncDisposable {
  readonly all: FormStack[] = [];
  readonly #open: OpenStack;
  readonly #materials: Materials;

  constructor(open: OpenStack, materials: Materials) {
    this.#open = open;
    this.#materials = materials;
  }

  get first(): BenchStack {
    const [first] = this.all;
    if (!first) throw new RangeError("no stack is open");
    return first.stack;
  }

  async open(dtype: BaseDtype, log: StepLog | null): Promise<void> {
    this.all.push({ dtype, stack: await this.start(dtype, log) });
  }

  /** Starts a stack, without adapters if `log` is null. The caller disposes it. */
  start(dtype: BaseDtype, log: StepLog | null): Promise<BenchStack> {
    const { model, adapters } = this.#materials;
    const request = { model, dtype, maxBatch: maxRows, maxContext: slotTokens, adapterBytes: 4 * 2 ** 30 };
    if (!log) return this.#open({ ...request, adapters: null });
    return this.#open({ ...request, adapters, observer: log.observer });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { stack } of this.all.splice(0)) await stack[Symbol.asyncDispose]();
  }
}

/** Measures all steps of all forms in the same rounds. */
async function measureSteps(
  stacks: readonly FormStack[],
  book: SeriesBook,
  effort: Effort,
  threads: number,
  progress?: Progress,
): Promise<StepCell[]> {
  const [first] = stacks;
  if (!first) return [];
  const { runner } = first.stack.started.steps;
  const sets = await holdSets(first.stack.checkpoint.config, runner.groups);
  const grammar = await jsonGrammar(first.stack.checkpoint.config.vocabSize);
  const work = stacks.map(({ dtype, stack }) => ({
    bench: new StepBench(stack, sets, effort, grammar),
    cases: stepCases(dtype),
  }));
  for (const { bench } of work) await bench.fill();
  await using readTest = await ReadTest.start({ threads, bytes: effort.readBytes });
  const contenders = [
    { id: readBandwidthId, unit: "bytes/s", sample: () => readTest.sample() },
    ...work.flatMap(({ bench, cases }) => cases.map((step) => bench.contender(step))),
  ];
  const { rounds, warmups } = effort;
  const what = "measuring steps";
  const measured = await interleave(contenders, { rounds, warmups, what, ...(progress ? { progress } : {}) });
  for (const series of measured) book.add(series);
  return work.flatMap(({ bench, cases }) =>
    cases.map((step): StepCell => {
      const id = caseId(step);
      const bytesPerStep = bench.bytesOf(step);
      const bytesPerToken = bytesPerStep / step.rows;
      book.derive(movedId(id), "bytes/s", id, (tokens) => tokens * bytesPerToken);
      const bandwidthShare = ratioOf(book.get(movedId(id)), book.get(readBandwidthId)).median;
      const tokensPerSecond = spreadOf(book.get(id).samples);
      return { id, step, tokensPerSecond, bytesPerStep, bandwidthShare };
    }),
  );
}

/** Measures HTTP, starts and memory, with the first form of the weights. */
async function measureService(stacks: Stacks, log: StepLog, effort: Effort, progress?: Progress): Promise<Series[]> {
  const stack = stacks.first;
  const rounds = { rounds: effort.serviceRounds, warmups: effort.warmups, ...(progress ? { progress } : {}) };
  await using clients = await Clients.start();
  await using full = await BenchServer.listen(stack);
  const host = await measureHostMemory(stack);
  log.clear();
  const served = adapterContenders(full, clients, effort.serviceTokens);
  const overHttp = await interleave(served, { ...rounds, what: "measuring sixteen adapters over HTTP" });
  const adapters = { id: batchAdaptersId, unit: "adapters", samples: log.adapterCounts() };
  const active = measureActiveMemory(stack);
  const base = await measureBase(stacks, full, clients, effort, rounds);
  progress?.("measuring starts", 0, 0);
  const starts = await new StartBench(stack, log).run(effort.starts);
  return [...overHttp, adapters, ...host, ...active, ...base, ...starts];
}

async function measureBase(
  stacks: Stacks,
  full: BenchServer,
  clients: Clients,
  effort: Effort,
  rounds: { readonly rounds: number; readonly warmups: number; readonly progress?: Progress },
): Promise<Series[]> {
  const [first] = stacks.all;
  if (!first) return [];
  await using bareStack = await stacks.start(first.dtype, null);
  await using bare = await BenchServer.listen(bareStack);
  const contenders = baseContenders(full, bare, clients, effort.serviceTokens);
  return await interleave(contenders, { ...rounds, what: "measuring a server full of adapters against one without" });
}
