/** A job's run over a task model. */

import { dirname, join } from "node:path";
import type { SampleAnswer, TrainingReport, TrainingRun } from "../../jobs/types.js";
import type { RunEvents } from "../../train/run.js";
import type { TaskBatch } from "../../train/tasks/trainable.js";
import type { Sample } from "../../train/trainable.js";
import { openTaskJob } from "../train/task-job.js";
import { writeDataLabels } from "./data-labels.js";
import type { TrainingBase } from "./messages.js";
import {
  equalParts,
  flagsFrom,
  type OpenedRun,
  type RunRequest,
  samplingInterval,
  sharedOptions,
  silentTerminal,
} from "./opened-run.js";
import { taskTexts } from "./shown-rows.js";

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
  const flags = flagsFrom(begun ?? { ...sharedOptions(base, run), ...(await ownOptions(base, run)) });
  const rateFactor = run.hyperparameters.learningRateMultiplier;
  const resumed = begun === null ? null : folder;
  const job = await openTaskJob(base.folder, flags, silentTerminal, signal, resumed, { rateFactor });
  return {
    ...{ flags, settings: job.settings, session: job.session, record: job.record, warnings: job.warnings },
    textsOf: taskTexts,
    examples: async (rows) => rows.map(({ input: text }) => ({ text })),
    // Every key may read the adapter's files, but the rows belong to the key of the job.
    own: { comparison: job.comparison({ progress: () => {}, print: () => {} }, signal), keepsSamples: false },
    events: sampleEvents(samplingInterval(job.session), report),
    [Symbol.asyncDispose]: () => job[Symbol.asyncDispose](),
  };
}

async function ownOptions(base: TrainingBase, run: TrainingRun): Promise<Readonly<Record<string, unknown>>> {
  const { batchSize } = run.hyperparameters;
  const rows = equalParts(batchSize, maxRowsAtOnce).at(-1) ?? 1;
  const labels = join(dirname(run.output), "labels.json");
  return {
    "batch-size": rows,
    "gradient-accumulation-steps": batchSize / rows,
    ...((await writeDataLabels(run.data, base.folder, labels)) ? { labels } : {}),
  };
}

/** Validations answer some rows. The answers before training are known to the process that began the run. */
function sampleEvents(every: number, report: (report: TrainingReport) => void): RunEvents {
  let before: readonly Sample[] | null = null;
  return {
    validated({ step, samples = [] }) {
      if (step === 0) before = samples;
      else if (before !== null && samples.length > 0 && step % every === 0) {
        report({ type: "samples", step, samples: pairs(before, samples) });
      }
    },
  };
}

const pairs = (before: readonly Sample[], after: readonly Sample[]): SampleAnswer[] =>
  after.map(({ prompt, answer }, i) => ({ prompt, before: before[i]?.answer ?? "", after: answer }));
