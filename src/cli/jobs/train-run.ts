/** One run of a job, from its files to an adapter's folder. What an earlier process has begun is continued. */
import { join, sep } from "node:path";
import { storageFault } from "../../base/durable.js";
import { LorikeetError } from "../../base/errors.js";
import type {
  HeldOut,
  SampleAnswer,
  StepFigures,
  TrainingEnd,
  TrainingProduct,
  TrainingReport,
  TrainingRun,
} from "../../jobs/types.js";
import { openCheckpoint } from "../../model/checkpoint/open.js";
import type { TokenBatch } from "../../train/data/batch.js";
import { peakBytes } from "../../train/estimate.js";
import { Checkpoints } from "../../train/files/checkpoints.js";
import { type RunResults, readRecord } from "../../train/files/record.js";
import { RunFolder } from "../../train/files/run-folder.js";
import { defaultRate } from "../../train/optimizer/default-rate.js";
import { type RunEvents, type RunOptions, runTraining } from "../../train/run.js";
import { openServed, type Served } from "../../train/served.js";
import { compareServed } from "../../train/served-comparison.js";
import { resolveSettings } from "../options/settings.js";
import type { Terminal } from "../terminal.js";
import { memoryForRun } from "../train/checks.js";
import { openJob, type TrainJob } from "../train/job.js";
import { type TrainFlags, trainOptions } from "../train/options.js";
import { storedOptions } from "../train/resume.js";
import { cardOf } from "../train/run-job.js";
import { pairSamples, short, takeAnswers } from "../train/samples.js";
import { UsageError } from "../usage.js";
import type { TrainingBase } from "./messages.js";

type Report = (report: TrainingReport) => void;

/** Rows in one forward and backward pass, at most: a step of more rows accumulates gradients. */
const maxRowsAtOnce = 8;
/** Checkpoints that stay, besides the best one. */
const keptCheckpoints = 3;
const shownFaults = 8;
/** Times that a run answers samples before its end, at most. */
const mostSamplings = 4;
/** The weights of an engine, and what it packs of them. */
const servedCopies = 2;

/** Never rejects. */
export async function train(
  base: TrainingBase,
  run: TrainingRun,
  report: Report,
  signal: AbortSignal,
): Promise<TrainingEnd> {
  try {
    const folder = new RunFolder(run.output);
    const results = (await finished(run)) ?? (await folder.locked(() => trainIn(folder, base, run, report, signal)));
    if (results === null) return { type: "stopped" };
    if (results.ended === "diverged") return { type: "failed", fault: diverged(results) };
    return { type: "done", product: await productOf(run, results) };
  } catch (error) {
    if (signal.aborted) return { type: "stopped" };
    return { type: "failed", fault: faultOf(storageFault(error, run.output, "fine-tuning folder"), run) };
  }
}

/** The results of a run that had ended when the server did. */
async function finished({ output }: TrainingRun): Promise<RunResults | null> {
  return (await readRecord(output))?.results ?? null;
}

/** null if it was stopped. */
async function trainIn(
  folder: RunFolder,
  base: TrainingBase,
  run: TrainingRun,
  report: Report,
  signal: AbortSignal,
): Promise<RunResults | null> {
  const begun = await folder.recall();
  const mode = begun === null ? "overwrite" : "resume";
  await folder.check(mode);
  await using job = await openFitting(base, run, begun, folder);
  const { session, settings, data } = job;
  const [trainRows, validRows] = [data.train.length, data.valid.length];
  report({ type: "opened", steps: session.totalSteps, trainRows, validRows, warnings: data.warnings });
  await folder.start(mode, storedOptions(job.flags));
  const serve = (result: string): Promise<Served> =>
    openServed({
      checkpoint: job.checkpoint,
      dtype: settings.dtype,
      threads: job.threads,
      maxContext: settings.maxLength,
      maxBatch: 4,
      adapter: result,
      ...(base.cacheDir === null ? {} : { cacheDirectory: base.cacheDir }),
    });
  const show = async (step: number | null, served: Served): Promise<void> =>
    report({ type: "samples", step, samples: await samplesOf(job, served, signal) });
  const { results } = await runTraining({
    folder,
    session,
    settings,
    record: job.record,
    // Every key may read the card, but the rows belong to the key of the job.
    card: {
      ...cardOf({ flags: job.flags, examples: async () => [] }),
      description: run.description,
      outputDir: join("adapters", run.name),
    },
    ...samplingOf(job, serve, show, signal),
    comparison: compareServed({
      ...{ session, settings, rows: job.check },
      serve,
      onServed: (served) => show(null, served),
    }),
    signal,
    events: eventsFor(report),
  });
  return results;
}

/**
 * Sample answers along the way, with every validation or every few of them. They serve the weights beside the session that trains them, so
 * they are left out where memory has no room for both.
 */
function samplingOf(
  { session }: TrainJob,
  serve: (draft: string) => Promise<Served>,
  show: (step: number, served: Served) => Promise<void>,
  signal: AbortSignal,
): Pick<RunOptions<TokenBatch>, "sampling"> {
  if (peakBytes() + servedCopies * session.base.bytes > memoryForRun()) return {};
  const validations = Math.ceil(session.totalSteps / session.validateEvery);
  const every = session.validateEvery * Math.ceil(validations / mostSamplings);
  let isOff = false;
  return {
    sampling: {
      every,
      async take(draft, step) {
        if (isOff) return;
        try {
          await using served = await serve(draft);
          await show(step, served);
        } catch (error) {
          if (signal.aborted) throw error;
          isOff = true; // the run is worth more than what can be seen of it
          process.stderr.write(`lorikeet: a fine-tuning job answers no samples before its end: ${error}\n`);
        }
      },
    },
  };
}

/** What the base and the adapter answer to the same prompts. */
async function samplesOf({ check, model }: TrainJob, served: Served, signal: AbortSignal): Promise<SampleAnswer[]> {
  const { tokenizer, checkpoint } = model;
  const options = { tokenizer, stopIds: checkpoint.config.stopIds, signal };
  const after = await takeAnswers(served, check, options);
  const before = await takeAnswers(served, check, options, false);
  return pairSamples(check, tokenizer, { before, after }).map((sample) => ({
    ...sample,
    prompt: short(sample.prompt),
  }));
}

function eventsFor(report: Report): RunEvents {
  const none: Omit<StepFigures, "step"> = {
    trainLoss: null,
    trainAccuracy: null,
    validLoss: null,
    validAccuracy: null,
  };
  return {
    started: ({ step }) => report({ type: "started", step }),
    step: ({ step, loss, rate }) => report({ type: "step", figures: { ...none, step, trainLoss: loss }, rate }),
    validated: ({ step, loss, metrics }) =>
      report({
        type: "validation",
        figures: { ...none, step, validLoss: loss, validAccuracy: metrics.accuracy ?? null },
      }),
  };
}

/** Opens the run with as many rows at once as memory allows; one that was begun keeps its own. */
async function openFitting(
  base: TrainingBase,
  run: TrainingRun,
  begun: Readonly<Record<string, unknown>> | null,
  folder: RunFolder,
): Promise<TrainJob> {
  if (begun !== null) return openJob(base.folder, flagsFrom(begun), silentTerminal, folder);
  const { config } = await openCheckpoint(base.folder);
  const rate = run.hyperparameters.learningRateMultiplier * defaultRate(run.method === "dpo" ? "dpo" : "sft", config);
  const choices = fittings(run.hyperparameters.batchSize);
  for (const [i, choice] of choices.entries()) {
    try {
      return await openJob(base.folder, flagsFrom({ ...optionsOf(base, run, rate), ...choice }), silentTerminal);
    } catch (error) {
      const isTooLarge = error instanceof LorikeetError && error.code === "out_of_memory";
      if (!isTooLarge || i === choices.length - 1) throw error;
    }
  }
  throw new LorikeetError("internal", "There is no way to split a step.");
}

/** Ways to compute a step of so many rows: the fastest first, the one with the least memory last. */
function fittings(rows: number): Readonly<Record<string, unknown>>[] {
  const parts = Array.from({ length: Math.min(maxRowsAtOnce, rows) }, (_, i) => i + 1).filter(
    (part) => rows % part === 0,
  );
  const split = parts.reverse().map((part) => ({ "batch-size": part, "gradient-accumulation-steps": rows / part }));
  return [...split, { ...split.at(-1), "gradient-checkpointing": true }];
}

/** Options of `train`, as a config file has them. */
function optionsOf(base: TrainingBase, run: TrainingRun, rate: number): Readonly<Record<string, unknown>> {
  const { epochs, beta } = run.hyperparameters;
  return {
    model: base.folder,
    dtype: base.dtype,
    ...(base.chatTemplate === null ? {} : { "chat-template": base.chatTemplate }),
    ...(base.cacheDir === null ? {} : { "cache-dir": base.cacheDir }),
    threads: base.threads,
    data: run.data,
    "output-dir": run.output,
    method: run.method === "dpo" ? "dpo" : "sft",
    epochs,
    seed: run.seed,
    "learning-rate": rate,
    ...(beta === null ? {} : { beta }),
    "max-time": `${base.maxTimeMs}ms`,
    "save-total-limit": keptCheckpoints,
    ...(run.method === "supervised" ? { "token-accuracy": true } : {}),
  };
}

const flagsFrom = (file: Readonly<Record<string, unknown>>): TrainFlags =>
  resolveSettings(trainOptions, { flags: {}, environment: {}, file, filePath: "the job" });

/** The process prints nothing. */
const silentTerminal: Terminal = {
  stdout: { write: () => true },
  stderr: { write: () => true },
  environment: {},
  onSignal: () => () => {},
  onCrash: () => () => {},
  exitNow: () => {},
};

async function productOf({ output }: TrainingRun, results: RunResults): Promise<TrainingProduct> {
  const folder = join(output, "checkpoints");
  const steps = await Checkpoints.stepsIn(folder);
  return {
    steps: results.kept_step,
    tokens: results.tokens,
    heldOut: heldOutOf(results, await readRecord(output)),
    checkpoints: steps.map((step) => ({ step, folder: Checkpoints.pathIn(folder, step) })),
  };
}

function heldOutOf(results: RunResults, record: Awaited<ReturnType<typeof readRecord>>): HeldOut | null {
  const { base_validation_loss: before, validation_loss: after } = results;
  return before === null || after === null ? null : { rows: record?.data?.validation_rows ?? 0, before, after };
}

const diverged = ({ steps }: RunResults) => ({
  code: "invalid_value",
  message: `The loss diverged after ${steps} steps; a lower learning_rate_multiplier may help.`,
  param: "learning_rate_multiplier",
});

/** The fault in the words of the API: files have no folders, and a list of faults is told. */
function faultOf(error: unknown, { data }: TrainingRun) {
  const told = (text: string): string => text.replaceAll(`${data}${sep}`, "").replaceAll(data, "the files");
  if (error instanceof LorikeetError) {
    const listed = error.faults.slice(0, shownFaults).filter((fault) => !error.message.includes(fault));
    const message = told([error.message, ...listed].join(" "));
    return { code: error.code, message, param: error.code === "data_invalid" ? "training_file" : null };
  }
  if (error instanceof UsageError) return { code: "invalid_value", message: told(error.message), param: null };
  const reason = error instanceof Error ? (error.stack ?? error.message) : String(error);
  process.stderr.write(`lorikeet: a fine-tuning job failed: ${reason}\n`);
  return { code: "internal", message: "The training process failed; the server's log says why.", param: null };
}
