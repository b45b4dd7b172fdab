/** `lorikeet bench train`: whole training steps on random models, as a table or JSON. */

import type { Command } from "commander";
import { runTrainBench, type TrainCell, type TrainReport } from "../../bench/train-bench.js";
import { defaultCacheDirectory } from "../../weights/cache/cache.js";
import { usableThreads } from "../machine.js";
import { addOptions, readOptions } from "../options/command-line.js";
import { formatBytes, formatCount } from "../options/units.js";
import { progressLine } from "../progress.js";
import { formatFields, formatTable } from "../table.js";
import { printJson, printLine, type Terminal } from "../terminal.js";
import { type BenchTrainSettings, benchTrainOptions } from "./options.js";

export function addBenchTrain(bench: Command, terminal: Terminal): void {
  const command = bench
    .command("train")
    .description("measure training steps on random models, and compare them with the machine's matrix products")
    .option("--json", "print JSON with all samples, counted products and rates", false);
  addOptions(command, benchTrainOptions).action(({ json }: { json: boolean }) => {
    return benchTrain(readOptions(command, benchTrainOptions, terminal.environment), json, terminal);
  });
}

async function benchTrain(settings: BenchTrainSettings, json: boolean, terminal: Terminal): Promise<void> {
  const { shape, dtype, batchSize, maxLength, gradientCheckpointing, quick, profile } = settings;
  const progress = progressLine(terminal.stderr);
  const report = await runTrainBench({
    shapes: shape,
    dtypes: dtype,
    rows: batchSize,
    length: maxLength,
    gradientCheckpointing,
    quick,
    profile,
    threads: settings.threads ?? usableThreads(),
    cacheDirectory: settings.cacheDir ?? defaultCacheDirectory({ ...terminal.environment }),
    progress: progress.report,
  }).finally(() => progress.end());
  if (json) printJson(terminal.stdout, report);
  else printLine(terminal.stdout, formatTrainReport(report));
}

/** Machine and steps, then a row for each model and type of its weights. */
export function formatTrainReport(report: TrainReport): string {
  const { machine, threads, rows, length, rank, gradientCheckpointing, effort, rateMethod } = report;
  const recomputed = gradientCheckpointing ? ", activations recomputed" : "";
  const fields = formatFields([
    ["machine", `${machine.cpu}, ${machine.cores} cores, Node.js ${machine.node}`],
    ["threads", String(threads)],
    ["step", `${rows} rows of ${length} tokens, all labelled; rank ${rank} on every linear layer${recomputed}`],
    ["samples", `median of ${effort.samples} steps after ${effort.warmups}; peak memory of the run's own process`],
    ["rates", rateMethod],
  ]);
  const header = [
    "model",
    "base",
    "tokens/s",
    "step ms",
    "min",
    "max",
    "peak",
    "fp32 GF/s",
    "int8 GOP/s",
    "ceiling ms",
  ];
  const table = formatTable([...header, "share", "aims"], report.cells.map(rowOf));
  return `${fields}\n\n${table}`;
}

function rowOf({ stepMs, rates, aims, ...cell }: TrainCell): string[] {
  return [
    `${cell.shape} (${formatCount(cell.parameters)})`,
    cell.dtype,
    cell.tokensPerSecond.toFixed(1),
    ...[stepMs.median, stepMs.min, stepMs.max].map((ms) => ms.toFixed(0)),
    formatBytes(cell.peakBytes),
    ...[rates.fp32, rates.int8].map((rate) => (rate / 1e9).toFixed(0)),
    cell.ceilingMs.toFixed(0),
    cell.ceilingShare.toFixed(2),
    aims.map(({ what, value, met }) => `${aimText(what, value)} ${met ? "met" : "missed"}`).join(", "),
  ];
}

const aimText = (what: TrainCell["aims"][number]["what"], value: number): string =>
  what === "tokens/s" ? `>= ${value} tokens/s` : `<= ${(value / 1e9).toFixed(1)} GB`;
