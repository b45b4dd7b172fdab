/** Formats the report of a benchmark on a card as tables for a terminal. */

import type { CardReport } from "../../bench/card-bench.js";
import { formatBytes, formatCount } from "../options/units.js";
import { formatFields, formatTable } from "../table.js";
import { formatRatios, number, rate } from "./report.js";

/** Card and model, then steps, then ratios with their targets. */
export function formatCardReport(report: CardReport): string {
  return [headOf(report), stepsOf(report), formatRatios(report.ratios)].join("\n\n");
}

function headOf({ device, shape, parameters, effort, ...report }: CardReport): string {
  const weights = Object.entries(report.weightBytes).map(([dtype, bytes]) => `${dtype} ${formatBytes(bytes)}`);
  const byDtype = (values: CardReport["bandwidth"], format: (value: number) => string): string =>
    Object.entries(values)
      .map(([dtype, { median }]) => `${format(median)} with ${dtype}`)
      .join(", ");
  const memory = device.memoryBytes === null ? "" : `, ${formatBytes(device.memoryBytes)}`;
  const adapter = `rank ${report.rank}, ${formatBytes(report.adapterBytes)}`;
  return formatFields([
    ["device", `${device.name}${device.software ? ", a software driver" : ""}${memory}`],
    ["model", `random ${shape}, ${formatCount(parameters)} parameters; ${weights.join(", ")}`],
    ["bandwidth", `${byDtype(report.bandwidth, rate)} (${report.bandwidthMethod})`],
    ["activation", `${byDtype(report.activationMs, (ms) => `${number(ms)} ms`)}, an adapter of ${adapter}`],
    ["decode", `${report.contextTokens} tokens in each slot, greedy`],
    ["samples", `${effort.rounds} rounds, all steps in turns, after an uncounted one; medians`],
  ]);
}

function stepsOf({ cells }: CardReport): string {
  const rows = cells.map(({ step, tokensPerSecond, bandwidthShare }) => [
    step.dtype,
    step.kind === "prefill" ? `prefill ${step.rows}` : `batch ${step.rows}`,
    String(step.adapters),
    ...[tokensPerSecond.median, tokensPerSecond.min, tokensPerSecond.max].map(number),
    bandwidthShare.toFixed(2),
  ]);
  return formatTable(["dtype", "step", "adapters", "tokens/s", "min", "max", "share"], rows);
}
