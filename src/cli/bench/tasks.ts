/** `lorikeet bench tasks`: batches of task models with adapters beside plain ONNX Runtime on the CPU, as a table or JSON. */

import type { Command } from "commander";
import { runTaskBench, type TaskCell, type TaskReport } from "../../bench/task-bench.js";
import { openDevice } from "../../runtime/device/open.js";
import { chooseFor } from "../device.js";
import { usableThreads } from "../machine.js";
import { addOptions, readOptions } from "../options/command-line.js";
import { formatCount } from "../options/units.js";
import { progressLine } from "../progress.js";
import { formatFields, formatTable } from "../table.js";
import { printJson, printLine, type Terminal } from "../terminal.js";
import { benchTaskOptions } from "./options.js";

export function addBenchTasks(bench: Command, terminal: Terminal): void {
  const command = bench
    .command("tasks")
    .description("measure batches of random task models with adapters, beside plain ONNX Runtime on the CPU")
    .option("--json", "print JSON with all samples", false);
  addOptions(command, benchTaskOptions).action(async ({ json }: { json: boolean }) => {
    const settings = readOptions(command, benchTaskOptions, terminal.environment);
    const { threads, loraR: rank, quick } = settings;
    const progress = progressLine(terminal.stderr);
    using device = await openDevice(await chooseFor(settings));
    const options = { threads: threads ?? usableThreads(), rank, quick, device, progress: progress.report };
    const report = await runTaskBench(options).finally(() => progress.end());
    if (json) printJson(terminal.stdout, report);
    else printLine(terminal.stdout, formatTaskReport(report));
  });
}

export function formatTaskReport({ machine, device, threads, rank, effort, models, cells }: TaskReport): string {
  const fields = formatFields([
    ["machine", `${machine.cpu}, ${machine.cores} cores, Node.js ${machine.node}`],
    [
      "device",
      device.kind === "cpu" ? "cpu" : `${device.kind}: ${device.name}${device.software ? ", a software driver" : ""}`,
    ],
    ["threads", String(threads)],
    ...models.map(({ name, parameters, adapted }): [string, string] => [
      "model",
      `${name}: ${formatCount(parameters)} parameters; rank ${rank} on ${adapted} layers`,
    ]),
    ["samples", `median of ${effort.rounds} rounds in turns after ${effort.warmups}; ratios are of the same round`],
  ]);
  const header = ["model", "batch", "adapters", "ms", "min", "max", "over session", "aim"];
  return `${fields}\n\n${formatTable(header, cells.map(rowOf))}`;
}

const words = { session: "plain session", none: "none", one: "one", distinct: "8 distinct" } as const;

function rowOf({ model, rows, adapters, ms, ratio, aim }: TaskCell): string[] {
  const aimed = aim === null ? "" : `${aim} ${ratio.median <= aim ? "met" : "missed"}`;
  return [
    ...[model, String(rows), words[adapters]],
    ...[ms.median, ms.min, ms.max].map((value) => value.toFixed(2)),
    ...[ratio.median.toFixed(2), aimed],
  ];
}
