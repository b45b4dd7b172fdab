/**
 * `lorikeet bench train`: whole steps of the trainer on random models, each form of the base in its own process, compared with the
 * machine's matrix products.
 */

import { availableParallelism, cpus } from "node:os";
import type { Progress } from "../base/log.js";
import type { BaseDtype } from "../engine/start.js";
import { openCheckpoint } from "../model/checkpoint/open.js";
import { prepareModel } from "./materials.js";
import { productRate, type RateForm, rateMethod } from "./product-rate.js";
import { type Spread, spreadOf } from "./series.js";
import type { BenchShape } from "./shapes.js";
import { benchRank, type TrainCase } from "./train-case.js";
import { measureInProcess } from "./train-process.js";
import { ceilingMs, countProducts, type StepProducts } from "./train-products.js";

export interface TrainBenchOptions {
  readonly shapes: readonly BenchShape[];
  readonly dtypes: readonly BaseDtype[];
  readonly rows: number;
  readonly length: number;
  readonly gradientCheckpointing: boolean;
  readonly threads: number;
  readonly quick: boolean;
  readonly cacheDirectory: string;
  readonly profile: string | null;
  readonly progress?: Progress;
}

/** One model trained with one form of its weights. */
export interface TrainCell {
  readonly shape: BenchShape;
  readonly dtype: BaseDtype;
  readonly parameters: number;
  readonly trainableParameters: number;
  readonly stepMs: Spread & { readonly samples: readonly number[] };
  readonly tokensPerSecond: number;
  readonly peakBytes: number;
  /** The process's memory without activations. */
  readonly restBytes: number;
  readonly losses: readonly number[];
  readonly products: StepProducts;
  /** The machine's product rates during this run, in operations per second. */
  readonly rates: Readonly<Record<RateForm, number>>;
  /** The time of the step's products at those rates, and its share of the step. */
  readonly ceilingMs: number;
  readonly ceilingShare: number;
  readonly aims: readonly Aim[];
}

export interface Aim {
  readonly what: "tokens/s" | "peak bytes";
  readonly value: number;
  readonly met: boolean;
}

export interface TrainReport {
  readonly machine: { readonly cpu: string; readonly cores: number; readonly node: string };
  readonly threads: number;
  readonly rows: number;
  readonly length: number;
  readonly rank: number;
  readonly gradientCheckpointing: boolean;
  readonly effort: Effort;
  readonly rateMethod: string;
  readonly cells: readonly TrainCell[];
}

interface Effort {
  readonly warmups: number;
  readonly samples: number;
}

const efforts = { full: { warmups: 3, samples: 5 }, quick: { warmups: 1, samples: 1 } } as const;

/** Runs the benchmark. */
export async function runTrainBench(options: TrainBenchOptions): Promise<TrainReport> {
  const { shapes, dtypes, rows, length, gradientCheckpointing, threads, quick, progress } = options;
  const effort = quick ? efforts.quick : efforts.full;
  const cases = shapes.flatMap((shape) => dtypes.map((dtype) => ({ shape, dtype })));
  const cells: TrainCell[] = [];
  for (const [i, { shape, dtype }] of cases.entries()) {
    progress?.(`training ${shape} over ${dtype}`, i, cases.length);
    cells.push(await measureCell(shape, dtype, effort, options));
  }
  return {
    machine: { cpu: cpus()[0]?.model ?? "unknown", cores: availableParallelism(), node: process.version },
    threads,
    rows,
    length,
    rank: benchRank,
    gradientCheckpointing,
    effort,
    rateMethod,
    cells,
  };
}

async function measureCell(
  shape: BenchShape,
  dtype: BaseDtype,
  effort: Effort,
  options: TrainBenchOptions,
): Promise<TrainCell> {
  const { rows, length, gradientCheckpointing, threads, cacheDirectory, profile } = options;
  const model = await prepareModel(cacheDirectory, shape, options.progress);
  const { config, parameterCount } = await openCheckpoint(model);
  const size = { rows: rows * length, inner: config.hiddenSize, columns: config.intermediateSize, threads };
  const rates = { fp32: await productRate("fp32", size), int8: await productRate("int8", size) };
  const { warmups, samples } = effort;
  const what: TrainCase = {
    dtype,
    model,
    rows,
    length,
    gradientCheckpointing,
    threads,
    cacheDirectory,
    warmups,
    samples,
    profile,
  };
  const measured = await measureInProcess(what);
  const products = countProducts({ config, rows, length, labels: measured.labels, rank: benchRank });
  const ceiling = ceilingMs(products, { fp32: rates.fp32, linears: rates[rateOf(dtype)] });
  const stepMs = { ...spreadOf(measured.stepMs), samples: measured.stepMs };
  const { peakBytes, restBytes, losses, trainableParameters } = measured;
  const tokensPerSecond = (1000 * rows * length) / stepMs.median;
  return {
    shape,
    dtype,
    parameters: parameterCount,
    trainableParameters,
    stepMs,
    tokensPerSecond,
    peakBytes,
    restBytes,
    losses,
    products,
    rates,
    ceilingMs: ceiling,
    ceilingShare: ceiling / stepMs.median,
    aims: isAimed(options) ? aimsOf(shape, dtype, tokensPerSecond, peakBytes) : [],
  };
}

const rateOf = (dtype: BaseDtype): RateForm => (dtype === "fp32" ? "fp32" : "int8");

/** The targets are for 4 rows of 256 tokens. */
const isAimed = ({ rows, length, gradientCheckpointing }: TrainBenchOptions): boolean =>
  rows === 4 && length === 256 && !gradientCheckpointing;

/** Minimum tokens per second, maximum bytes. */
const aims: Partial<Record<string, { readonly tokensPerSecond: number; readonly peakBytes?: number }>> = {
  "135M/fp32": { tokensPerSecond: 250, peakBytes: 3.6e9 },
  "135M/int8": { tokensPerSecond: 500, peakBytes: 2.9e9 },
  "135M/int4": { tokensPerSecond: 350 },
  "360M/fp32": { tokensPerSecond: 95 },
  "360M/int8": { tokensPerSecond: 190 },
};

function aimsOf(shape: BenchShape, dtype: BaseDtype, tokensPerSecond: number, peakBytes: number): Aim[] {
  const aim = aims[`${shape}/${dtype}`];
  if (!aim) return [];
  const speed: Aim = { what: "tokens/s", value: aim.tokensPerSecond, met: tokensPerSecond >= aim.tokensPerSecond };
  if (aim.peakBytes === undefined) return [speed];
  return [speed, { what: "peak bytes", value: aim.peakBytes, met: peakBytes <= aim.peakBytes }];
}
