/** A job's run over rows of a task: those of a task model, or of a decoder with a classification head. */

import { writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { textIn } from "../../base/durable.js";
import type { SampleAnswer, TrainingReport } from "../../jobs/types.js";
import type { CardFacts } from "../../train/card/facts.js";
import type { RunEvents } from "../../train/run.js";
import type { RunSession } from "../../train/run-session.js";
import type { TaskBatch } from "../../train/tasks/trainable.js";
import type { Sample } from "../../train/trainable.js";
import type { Job } from "../train/run-job.js";
import { openScoreJob } from "../train/score-job.js";
import { openTaskJob } from "../train/task-job.js";
import {
  equalParts,
  firstThatFits,
  flagsFrom,
  type OpenedRun,
  type RunRequest,
  samplingInterval,
  sharedOptions,
  silentTerminal,
} from "./opened-run.js";
import { type ShownRow, taskTexts } from "./shown-rows.js";

/** Rows in one forward and backward pass, at most. Embeddings learn from the other rows of one. */
const maxRowsAtOnce = 16;

export async function openTaskRun({
  base,
  run,
  begun,
  folder,
  report,
  signal,
}: RunRequest): Promise<OpenedRun<TaskBatch>> {
  const resumed = begun === null ? null : folder;
  const own = { rateFactor: run.hyperparameters.learningRateMultiplier, makesLabels: true };
  const openJob = base.kind === "task" ? openTaskJob : openScoreJob;
  const open = (options: Readonly<Record<string, unknown>>): Promise<Job<TaskBatch>> =>
    openJob(base.folder, flagsFrom(options), silentTerminal, signal, resumed, own);
  const job = await openNewOr(begun, { base, run }, open);
  return {
    ...{ flags: job.flags, settings: job.settings, session: job.session, record: job.record, warnings: job.warnings },
    textsOf: taskTexts,
    examples: async (rows) => examplesOf(run.task, rows),
    // Every key may read the adapter's files, but the rows belong to the key of the job.
    own: { comparison: job.comparison({ progress: () => {}, print: () => {} }, signal), keepsSamples: false },
    events: await sampleEvents(job.session, join(dirname(run.output), "first-answers.json"), report),
    [Symbol.asyncDispose]: () => job[Symbol.asyncDispose](),
  };
}

/** A policy is asked with numbers, and a translation is the likeliest one. */
function examplesOf(task: string, rows: readonly ShownRow[]): CardFacts["examples"] {
  if (task === "reinforcement-learning") return [];
  const sampling = task === "translation" ? { temperature: 0 } : {};
  return rows.map(({ input: text }) => ({ text, ...sampling }));
}

/** Opens the run that was begun with its own options, or a new one with those of the job. */
async function openNewOr(
  begun: RunRequest["begun"],
  { base, run }: Pick<RunRequest, "base" | "run">,
  open: (options: Readonly<Record<string, unknown>>) => Promise<Job<TaskBatch>>,
): Promise<Job<TaskBatch>> {
  if (begun !== null) return await open(begun);
  const { batchSize } = run.hyperparameters;
  const shared = { ...sharedOptions(base, run), task: run.task };
  if (base.kind === "decoder") {
    const own = { ...shared, dtype: base.dtype, ...(base.cacheDir === null ? {} : { "cache-dir": base.cacheDir }) };
    return await firstThatFits(batchSize, (choice) => open({ ...own, ...choice }));
  }
  const rows = equalParts(batchSize, maxRowsAtOnce).at(-1) ?? 1;
  return await open({ ...shared, "batch-size": rows, "gradient-accumulation-steps": batchSize / rows });
}

/**
 * Validations answer some rows: every few of them, and the last. The answers before training are kept in a file beside the run, for the
 * process that may continue it.
 */
export async function sampleEvents(
  session: Pick<RunSession<TaskBatch>, "totalSteps" | "validateEvery">,
  path: string,
  report: (report: TrainingReport) => void,
): Promise<RunEvents> {
  const every = samplingInterval(session);
  let before = readAnswers(await textIn(path));
  return {
    validated({ step, samples = [] }) {
      if (step === 0) {
        before = samples;
        writeFileSync(path, JSON.stringify(samples));
      } else if (samples.length > 0 && (step % every === 0 || step === session.totalSteps)) {
        report({ type: "samples", step, samples: pairs(before, samples) });
      }
    },
  };
}

/** Empty where there are none. */
function readAnswers(text: string | null): readonly Sample[] {
  try {
    const answers: unknown = JSON.parse(text ?? "[]");
    return Array.isArray(answers) ? answers : [];
  } catch {
    return []; // cut off by a crash
  }
}

const pairs = (before: readonly Sample[], after: readonly Sample[]): SampleAnswer[] =>
  after.map(({ prompt, answer }, i) => ({ prompt, before: before[i]?.answer ?? "", after: answer }));
