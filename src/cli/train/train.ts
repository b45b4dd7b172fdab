/** `lorikeet train`: trains an adapter, or every weight, on a file of examples. The result can be served as it is. */

import { basename } from "node:path";
import type { Command } from "commander";
import { checkName } from "../../adapter/names.js";
import { assert } from "../../base/errors.js";
import { openCheckpoint } from "../../model/checkpoint/open.js";
import type { Checkpoint } from "../../model/types.js";
import { type Estimate, measure, peakBytes } from "../../train/estimate.js";
import { Checkpoints } from "../../train/files/checkpoints.js";
import { RunFolder, type StartMode } from "../../train/files/run-folder.js";
import { type RunOutcome, runTraining } from "../../train/run.js";
import { openServed, type Served } from "../../train/served.js";
import { divergedError } from "../../train/trainer.js";
import { remoteServer } from "../adapters/remote.js";
import { addOptions } from "../options/command-line.js";
import { requireGiven } from "../options/settings.js";
import { tickingLine } from "../progress.js";
import { readClientKey } from "../serve/api-keys.js";
import { cancelledLine, listenForShutdown, type Shutdown, signalExitCode } from "../serve/shutdown.js";
import { printJson, printLine, type Terminal } from "../terminal.js";
import { describeFault, exitCodeOf, Quit, RemoteError, UsageError } from "../usage.js";
import { memoryForRun, openJob, type TrainJob } from "./job.js";
import { printWarnings } from "./model.js";
import { trainOptions } from "./options.js";
import { formatHeader, formatLengths, formatResults, formatRows, trainProgress } from "./report.js";
import { readTrainOptions, storedOptions } from "./resume.js";
import { formatAnswers, formatSamples, mostAnswerTokens, pairSamples, type Sample, takeAnswers } from "./samples.js";

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

async function stoppedLine(out: string | null, terminal: Terminal): Promise<string> {
  const isBegun = out !== null && (await new RunFolder(out).recall()) !== null;
  return isBegun
    ? `Stopped. Resume with: ${resumeLine(out, terminal)}`
    : "Stopped before the first step; nothing was written.";
}

/** Says what an error left of a run, and how to resume it. */
async function savedLine(folder: RunFolder, terminal: Terminal): Promise<string> {
  const last = (await Checkpoints.stepsIn(folder.checkpoints)).at(-1);
  const saved = last === undefined ? "No checkpoint was saved yet." : `Everything up to step ${last} is saved.`;
  return `${saved} Resume with: ${resumeLine(folder.outputDir, terminal)}`;
}

const resumeLine = (out: string, terminal: Terminal): string =>
  `${commandName(terminal)} train --resume --output-dir ${JSON.stringify(out)}`;

/** How the program was called. npx sets npm_command. */
const commandName = ({ environment }: Terminal): string =>
  environment.npm_command === "exec" ? "npx lorikeet" : "lorikeet";

type Flags = Awaited<ReturnType<typeof readTrainOptions>>;

async function runCommand(flags: Flags, shutdown: Shutdown, terminal: Terminal): Promise<void> {
  requireGiven(trainOptions, flags, "model", "data", ...(flags.dryRun ? [] : (["outputDir"] as const)));
  if (flags.publish !== null && flags.outputDir !== null) checkName(basename(flags.outputDir));
  // Read it now: a missing file should not surface after hours of training.
  if (flags.publish !== null) readClientKey(flags.apiKeyFile, terminal.environment);
  if (flags.dryRun) {
    await using job = await openJob(flags, terminal, shutdown.signal);
    return await showPlan(job, shutdown, terminal);
  }
  const { outputDir: out } = flags;
  assert(out !== null, "the result has a folder");
  if (flags.resume && flags.overwrite) throw new UsageError(["--resume and --overwrite cannot be combined."]);
  const folder = new RunFolder(out);
  const mode: StartMode = flags.resume ? "resume" : flags.overwrite ? "overwrite" : "fresh";
  await folder.locked(async () => {
    await folder.check(mode);
    await using job = await openJob(flags, terminal, shutdown.signal, mode === "resume" ? folder : null);
    await trainJob(job, folder, mode, shutdown, terminal);
  });
}

/** Largest acceptable difference between the losses of the training graph and the server, in fp32. */
const mostServedDifference = 1e-4;

/** Estimates the whole run. --max-time limits the training, not what follows it. */
async function estimateOf(
  { session, settings, ...job }: TrainJob,
  signal: AbortSignal,
  terminal: Terminal,
): Promise<Estimate> {
  const line = tickingLine(terminal.stderr);
  const { stepsDone, flags } = job;
  const left = session.totalSteps - stepsDone;
  const samples = flags.sampleEvery === null ? 0 : Math.floor(left / flags.sampleEvery);
  const work = { ...job, answerTokens: mostAnswerTokens, samples };
  const estimate = await measure(session, work, signal, line.report).finally(() => line.end());
  return { ...estimate, ms: Math.min(estimate.ms, settings.maxTimeMs ?? estimate.ms) };
}

/** The stream for human-readable output: stdout, unless that carries JSON. */
const outputOf = ({ flags }: TrainJob, terminal: Terminal) => (flags.json ? terminal.stderr : terminal.stdout);

async function showPlan(job: TrainJob, shutdown: Shutdown, terminal: Terminal): Promise<void> {
  const estimate = await estimateOf(job, shutdown.signal, terminal);
  const say = outputOf(job, terminal);
  printLine(say, formatHeader({ ...job, estimate, memory: memoryForRun(), out: job.flags.outputDir ?? "(dry run)" }));
  printWarnings(job.data, terminal.stderr);
  printLine(say, `\n${formatRows(job.data.train, job.model.tokenizer)}`);
  printLine(say, `\ntokens of a row\n${formatLengths(job.data.train)}`);
  if (job.flags.json) printJson(terminal.stdout, planOf(job, estimate));
}

function planOf({ session, data }: TrainJob, estimate: Estimate) {
  return {
    steps: session.totalSteps,
    trainable_parameters: session.trainableParameters,
    base_dtype: session.base.dtype,
    base_bytes: session.base.bytes,
    train_rows: data.train.length,
    validation_rows: data.valid.length,
    data: data.digest,
    estimated_bytes: estimate.bytes,
    estimated_seconds: (estimate.ms + estimate.endMs) / 1000,
  };
}

async function trainJob(
  job: TrainJob,
  folder: RunFolder,
  mode: StartMode,
  { signal, requested }: Shutdown,
  terminal: Terminal,
): Promise<void> {
  const { session, settings, model } = job;
  const say = outputOf(job, terminal);
  const estimate = await estimateOf(job, signal, terminal);
  printLine(say, `${formatHeader({ ...job, estimate, memory: memoryForRun(), out: folder.outputDir })}\n`);
  printWarnings(job.data, terminal.stderr);
  await folder.start(mode, storedOptions(job.flags));
  const progress = trainProgress(terminal.stderr, session.totalSteps);
  const line = tickingLine(terminal.stderr);
  const endLines = (): void => {
    progress.end();
    line.end();
  };
  const isModel = settings.method === "full"; // the result no longer contains the base model's weights
  const sampling = { tokenizer: model.tokenizer, stopIds: model.checkpoint.config.stopIds, signal };
  let [before, after]: [string[], string[]] = [[], []];
  const sample = async (served: Served, step: number): Promise<void> => {
    const answers = await takeAnswers(served, job.check, sampling);
    endLines();
    printLine(say, formatAnswers(step, pairSamples(job.check, model.tokenizer, { before: [], after: answers })));
  };
  const outcome = await runTraining({
    folder,
    session,
    settings,
    record: job.record,
    check: job.check,
    extends: job.isExtended,
    reportTo: job.flags.reportTo ?? [],
    ...(job.flags.sampleEvery === null ? {} : { sampling: { every: job.flags.sampleEvery, take: sample } }),
    serve: (result) => serveResult(job, result),
    async onServed(served) {
      after = await takeAnswers(served, job.check, sampling);
      if (!isModel) before = await takeAnswers(served, job.check, sampling, false);
    },
    signal,
    progress: line.report,
    events: {
      started: ({ step }) => step > 0 && printLine(say, `resuming after step ${step}`),
      step(report) {
        line.end();
        progress.step(report);
      },
      validated({ step, loss, margin, accuracy = 0, isBest }) {
        endLines();
        const gained =
          margin === undefined ? "" : `, margin ${margin.toFixed(4)}, accuracy ${(100 * accuracy).toFixed(1)} %`;
        const best = isBest ? " (best)" : "";
        printLine(say, `step ${step}/${session.totalSteps}  validation loss ${loss.toFixed(4)}${gained}${best}`);
      },
    },
  })
    .finally(endLines)
    .catch(async (error: unknown) => {
      if (signal.aborted) throw error;
      printLine(terminal.stderr, `lorikeet: ${describeFault(error)}`);
      printLine(terminal.stderr, await savedLine(folder, terminal));
      throw new Quit(exitCodeOf(error));
    });
  if (outcome.end === "interrupted") {
    const name = await requested;
    printLine(
      say,
      `Stopped after step ${outcome.state.step} of ${session.totalSteps}. Resume with: ${resumeLine(folder.outputDir, terminal)}`,
    );
    throw new Quit(signalExitCode(name));
  }
  if (isModel) {
    await using base = await serve(job, model.checkpoint, null);
    before = await takeAnswers(base, job.check, sampling);
  }
  const samples = pairSamples(job.check, model.tokenizer, { before, after });
  await report(job, folder, estimate, { outcome, samples }, terminal);
}

/** Serves the result of a run: an adapter over its base model, or a whole model. */
async function serveResult(job: TrainJob, result: string): Promise<Served> {
  if (job.settings.method === "full") return serve(job, await openCheckpoint(result), null);
  return serve(job, job.checkpoint, result);
}

function serve(
  { flags, threads, settings }: TrainJob,
  checkpoint: Checkpoint,
  adapter: string | null,
): Promise<Served> {
  return openServed({
    checkpoint,
    dtype: settings.dtype,
    threads,
    maxContext: settings.maxLength,
    maxBatch: 4,
    adapter,
    ...(flags.cacheDir === null ? {} : { cacheDirectory: flags.cacheDir }),
  });
}

async function report(
  job: TrainJob,
  folder: RunFolder,
  estimate: Estimate,
  { outcome, samples }: { readonly outcome: RunOutcome; readonly samples: readonly Sample[] },
  terminal: Terminal,
): Promise<void> {
  const { flags } = job;
  const say = outputOf(job, terminal);
  const { results, state } = outcome;
  if (samples.length > 0) printLine(say, `\n${formatSamples(samples)}\n`);
  const check = results?.served_check;
  if (check) {
    const written = results?.written_validation_loss ?? null;
    if (written !== null) printLine(say, `as saved, rounded: validation loss ${written.toFixed(4)}`);
    const difference = check.difference.toExponential(1);
    printLine(
      say,
      `as served with ${check.dtype} weights: loss ${check.served.toFixed(5)} on ${check.rows} rows, ${difference} from training`,
    );
    if (check.dtype === "fp32" && !(check.difference <= mostServedDifference)) {
      const advice = `more than ${mostServedDifference}: please report it, with the model's config.json`;
      printLine(terminal.stderr, `warning: the adapter behaves differently when served than in training (${advice}).`);
    }
  }
  const peak = peakBytes();
  if (results) printLine(say, `\n${formatResults(results, state, folder.outputDir, peak)}`);
  const hasDiverged = outcome.end === "diverged";
  if (!hasDiverged && state.best?.step === 0) {
    const advice = "try a lower --learning-rate, or other data";
    printLine(terminal.stderr, `warning: no validation improved on the one before the first step: ${advice}.`);
  }
  const { publish: url, apiKeyFile } = flags;
  const upload = url === null || hasDiverged ? null : await publish(folder.outputDir, url, apiKeyFile, terminal);
  if (upload?.fault === null) printLine(say, `published as ${basename(folder.outputDir)} on ${flags.publish}`);
  if (flags.json) {
    const plan = planOf(job, estimate);
    const published = upload?.answer ?? null;
    printJson(terminal.stdout, {
      output_dir: folder.outputDir,
      ...plan,
      ...results,
      peak_bytes: peak,
      samples,
      published,
    });
  }
  if (hasDiverged) throw divergedError(state, results?.kept_step ?? 0, folder.outputDir);
  if (upload && upload.fault !== null) throw upload.fault;
}

/** The server's reply, or an error that says how to publish later. The result is saved either way. */
async function publish(
  out: string,
  url: string,
  keyFile: string | null,
  terminal: Terminal,
): Promise<{ readonly answer: unknown; readonly fault: Error | null }> {
  const name = basename(out);
  try {
    const server = remoteServer(url, readClientKey(keyFile, terminal.environment));
    return { answer: await server.put(name, out), fault: null };
  } catch (error) {
    if (!(error instanceof RemoteError)) throw error;
    const later = `${commandName(terminal)} adapters add ${JSON.stringify(name)} ${JSON.stringify(out)} --url ${url}`;
    const message = `The adapter is saved but not published: ${error.message} Publish it later with: ${later}`;
    return { answer: null, fault: new RemoteError(message, error.faults) };
  }
}
