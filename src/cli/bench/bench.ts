/** `lorikeet bench engine`: measures an engine that is set up as in `serve`, and prints the report. */

import type { Command } from "commander";
import { silent } from "../../base/log.js";
import { runCardBench } from "../../bench/card-bench.js";
import { runEngineBench } from "../../bench/engine-bench.js";
import type { BenchStack, StackRequest } from "../../bench/stack.js";
import { defaultCacheDirectory } from "../../weights/cache/cache.js";
import { chooseFor } from "../device.js";
import { usableThreads } from "../machine.js";
import { addOptions, readOptions } from "../options/command-line.js";
import { type EngineSettings, engineOptions } from "../options/engine-options.js";
import { resolveSettings } from "../options/settings.js";
import { type ProgressLine, progressLine } from "../progress.js";
import { openStack } from "../stack.js";
import { printJson, printLine, type Terminal } from "../terminal.js";
import { formatCardReport } from "./card-report.js";
import { type BenchSettings, benchOptions } from "./options.js";
import { formatReport } from "./report.js";
import { addBenchTasks } from "./tasks.js";
import { addBenchTrain } from "./train.js";

export function addBench(program: Command, terminal: Terminal): void {
  const bench = program.command("bench").description("measure this machine");
  const command = bench
    .command("engine")
    .description("measure steps, serving and startup on a random model, and compare them with targets")
    .option("--json", "print JSON: every sample, spread and ratio", false);
  addBenchTrain(bench, terminal);
  addBenchTasks(bench, terminal);
  addOptions(command, benchOptions).action(({ json }: { json: boolean }) => {
    return benchEngine(readOptions(command, benchOptions, terminal.environment), json, terminal);
  });
}

async function benchEngine(settings: BenchSettings, json: boolean, terminal: Terminal): Promise<void> {
  const { shape, quick } = settings;
  const threads = settings.threads ?? usableThreads();
  const cacheDirectory = settings.cacheDir ?? defaultCacheDirectory({ ...terminal.environment });
  const progress = progressLine(terminal.stderr);
  const { device, allowSoftwareGpu, activationDtype, accuracyLevel, kvCacheDtype, dtype: dtypes } = settings;
  const engine = {
    threads,
    cacheDir: cacheDirectory,
    device,
    allowSoftwareGpu,
    activationDtype,
    accuracyLevel,
    kvCacheDtype,
  };
  const options = {
    ...{ shape, quick, cacheDirectory, dtypes, progress: progress.report },
    openStack: (request: StackRequest) => openBenchStack(request, engine, progress),
  };
  const { kind } = await chooseFor(settings);
  if (kind === "cpu") {
    const report = await runEngineBench({ ...options, threads }).finally(() => progress.end());
    print(report, formatReport, json, terminal);
  } else {
    const report = await runCardBench(options).finally(() => progress.end());
    print(report, formatCardReport, json, terminal);
  }
}

function print<Report>(report: Report, format: (report: Report) => string, json: boolean, terminal: Terminal): void {
  if (json) printJson(terminal.stdout, report);
  else printLine(terminal.stdout, format(report));
}

/** A stack with the defaults of `serve`, except for what the request sets. */
function openBenchStack(
  { model, adapters, dtype, maxBatch, maxContext, adapterBytes, observer }: StackRequest,
  engine: Pick<
    EngineSettings,
    "threads" | "cacheDir" | "device" | "allowSoftwareGpu" | "activationDtype" | "accuracyLevel" | "kvCacheDtype"
  >,
  progress: ProgressLine,
): Promise<BenchStack> {
  return openStack({
    settings: {
      ...engineDefaults,
      ...engine,
      model,
      dtype,
      maxBatch,
      maxContext,
      adapterCacheBytes: adapterBytes,
      activeAdapterBytes: adapterBytes,
    },
    servedName: "random",
    adapters: adapters === null ? null : { directory: adapters, logger: silent },
    gateway: {},
    ...(observer ? { observerOf: () => observer } : {}),
    logger: silent,
    progress: progress.report,
  });
}

const engineDefaults: EngineSettings = resolveSettings(engineOptions, { flags: {}, environment: {}, file: {} });
