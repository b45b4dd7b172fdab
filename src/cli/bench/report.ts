/** Formats the report of a benchmark as tables for a terminal. */

import type { EngineReport, StepCell } from "../../bench/engine-bench.js";
import type { Ratio } from "../../bench/ratios.js";
import { formatBytes, formatCount } from "../options/units.js";
import { formatFields, formatTable } from "../table.js";

/** Machine and model, then steps, then ratios with their targets, then all other timings. */
export function formatReport(report: EngineReport): string {
  return [headOf(report), stepsOf(report.cells), formatRatios(report.ratios), seriesOf(report)].join("\n\n");
}

function headOf({ machine, shape, parameters, threads, readTest, effort, ...report }: EngineReport): string {
  const weights = Object.entries(report.weightBytes).map(([dtype, bytes]) => `${dtype} ${formatBytes(bytes)}`);
  return formatFields([
    ["machine", `${machine.cpu}, ${machine.cores} cores, Node.js ${machine.node}`],
    ["model", `random ${shape}, ${formatCount(parameters)} parameters; ${weights.join(", ")}`],
    ["threads", String(threads)],
    ["read bandwidth", `${rate(readTest.median)} (${readTest.how})`],
    ["decode", `${report.contextTokens} tokens in slots of ${report.slotTokens}; sampled: temperature 0.8, top-p 0.95`],
    ["masked", "sampled, and each row held to the grammar of any JSON object"],
    [
      "samples",
      `${effort.rounds} rounds, all steps in turns, ${effort.steps} steps and ${effort.sampleMs} ms each at least; medians`,
    ],
  ]);
}

function stepsOf(cells: readonly StepCell[]): string {
  const rows = cells.map(({ step, tokensPerSecond, bytesPerStep, bandwidthShare }) => [
    step.dtype,
    step.kind === "prefill" ? `prefill ${step.rows}` : `batch ${step.rows}`,
    step.set,
    step.sampling ?? "",
    number(tokensPerSecond.median),
    number(tokensPerSecond.min),
    number(tokensPerSecond.max),
    formatBytes(bytesPerStep),
    bandwidthShare.toFixed(2),
  ]);
  const header = ["dtype", "step", "adapters", "tokens", "tokens/s", "min", "max", "moved", "share"];
  return formatTable(header, rows);
}

/** A row for each ratio, with its target and whether the median meets it. */
export function formatRatios(ratios: readonly Ratio[]): string {
  const rows = ratios.map(({ label, value, target, met }) => [
    label,
    value.median.toFixed(3),
    value.min.toFixed(3),
    value.max.toFixed(3),
    target === null ? "" : "atLeast" in target ? `>= ${target.atLeast}` : `<= ${target.atMost}`,
    met === null ? "" : met ? "met" : "missed",
  ]);
  return formatTable(["ratio", "median", "min", "max", "target", ""], rows);
}

/** All series that are neither steps nor their bytes. */
function seriesOf({ series, cells }: EngineReport): string {
  const steps = new Set(cells.flatMap(({ id }) => [id, `${id}/moved`]));
  const rows = series
    .filter(({ id }) => !steps.has(id))
    .map(({ id, unit, min, median, max }) => [id, ...[median, min, max].map((value) => amount(value, unit))]);
  return formatTable(["measured", "median", "min", "max"], rows);
}

function amount(value: number, unit: string): string {
  if (unit === "bytes") return formatBytes(value);
  if (unit === "bytes/s") return rate(value);
  return `${number(value)} ${unit}`;
}

export const rate = (bytesPerSecond: number): string => `${(bytesPerSecond / 1e9).toFixed(1)} GB/s`;
export const number = (value: number): string =>
  value >= 1000 ? value.toFixed(0) : value.toFixed(value >= 100 ? 1 : 2);
