/** `lorikeet train`: trains an adapter, or every weight, on a file of examples. The result can be served as it is. */

import { basename } from "node:path";
import type { Command } from "commander";
import { checkName } from "../../adapter/names.js";
import { assert } from "../../base/errors.js";
import { openCheckpoint } from "../../model/checkpoint/open.js";
import { isTaskModel } from "../../model/task/folder.js";
import { RunFolder, type StartMode } from "../../train/files/run-folder.js";
import { addOptions } from "../options/command-line.js";
import { requireGiven } from "../options/settings.js";
import { readClientKey } from "../serve/api-keys.js";
import { cancelledLine, listenForShutdown, type Shutdown, signalExitCode } from "../serve/shutdown.js";
import { locateModel } from "../task-model.js";
import { printLine, type Terminal } from "../terminal.js";
import { Quit, UsageError } from "../usage.js";
import { openDecoderJob } from "./decoder-job.js";
import { trainOptions } from "./options.js";
import { readTrainOptions } from "./resume.js";
import { type Job, resumeLine, runJob, showPlan } from "./run-job.js";
import { openScoreJob, scoreTask } from "./score-job.js";
import { openTaskJob } from "./task-job.js";

export function addTrain(program: Command, terminal: Terminal): void {
  const command = program.command("train").description("train an adapter, or every weight, on your data");
  addOptions(command, trainOptions).action(async () => {
    const flags = await readTrainOptions(command, terminal.environment);
    using shutdown = listenForShutdown(terminal);
    try {
      await runCommand(flags, shutdown, terminal);
    } catch (error) {
      if (!shutdown.signal.aborted || error instanceof Quit) throw error;
      const name = await shutdown.requested;
      printLine(terminal.stderr, cancelledLine(name));
      printLine(terminal.stderr, await stoppedLine(flags.outputDir, terminal));
      throw new Quit(signalExitCode(name));
    }
  });
}

/** Whether a decoder is trained to classify: as `--task` asks, or because it is a classifier. */
async function isScored(path: string, { task }: Flags): Promise<boolean> {
  return task === scoreTask || (await openCheckpoint(path)).config.classifier !== undefined;
}

async function stoppedLine(out: string | null, terminal: Terminal): Promise<string> {
  const isBegun = out !== null && (await new RunFolder(out).recall()) !== null;
  return isBegun
    ? `Stopped. Resume with: ${resumeLine(out, terminal)}`
    : "Stopped before the first step; nothing was written.";
}

type Flags = Awaited<ReturnType<typeof readTrainOptions>>;

async function runCommand(flags: Flags, shutdown: Shutdown, terminal: Terminal): Promise<void> {
  requireGiven(trainOptions, flags, "model", "data", ...(flags.dryRun ? [] : (["outputDir"] as const)));
  if (flags.publish !== null && flags.outputDir !== null) checkName(basename(flags.outputDir));
  // Read it now: a missing file should not surface after hours of training.
  if (flags.publish !== null) readClientKey(flags.apiKeyFile, terminal.environment);
  const path = await locateModel(flags.model, terminal, { onnxFile: flags.onnxFile, signal: shutdown.signal });
  const isTask = await isTaskModel(path);
  const withJob = async (resumed: RunFolder | null, use: <B>(job: Job<B>) => Promise<void>): Promise<void> => {
    if (isTask) {
      await using job = await openTaskJob(path, flags, terminal, shutdown.signal, resumed);
      return await use(job);
    }
    if (await isScored(path, flags)) {
      await using job = await openScoreJob(path, flags, terminal, shutdown.signal, resumed);
      return await use(job);
    }
    await using job = await openDecoderJob(path, flags, terminal, resumed);
    await use(job);
  };
  if (flags.dryRun) return await withJob(null, (job) => showPlan(job, shutdown, terminal));
  const { outputDir: out } = flags;
  assert(out !== null, "the result has a folder");
  if (flags.resume && flags.overwrite) throw new UsageError(["--resume and --overwrite cannot be combined."]);
  const folder = new RunFolder(out);
  const mode: StartMode = flags.resume ? "resume" : flags.overwrite ? "overwrite" : "fresh";
  await folder.locked(async () => {
    await folder.check(mode);
    await withJob(mode === "resume" ? folder : null, (job) => runJob(job, folder, mode, shutdown, terminal));
  });
}
