/** A run over rows of a task, whatever it trains: a task model, or a decoder with a classification head. */

import type { TaskData } from "../../train/tasks/task-data.js";
import { plainTaskBatches, type TaskBatch } from "../../train/tasks/trainable.js";
import type { Job } from "./run-job.js";
import { planTask, type TaskFacts } from "./task-report.js";

/** The job of a run. Disposing of it closes the session before `base`, which the session reads. */
export function taskJob(
  facts: TaskFacts,
  base: AsyncDisposable,
  own: Pick<Job<TaskBatch>, "flags" | "record" | "isExtended" | "comparison">,
): Job<TaskBatch> {
  const { settings, session, data } = facts;
  return {
    ...{ ...own, settings, session },
    warnings: data.warnings,
    measure: (signal, progress) => planTask(facts, signal, progress),
    takeSamples: null,
    examples: async () => [],
    samples: async () => [],
    async [Symbol.asyncDispose]() {
      await session[Symbol.asyncDispose]();
      await base[Symbol.asyncDispose]();
    },
  };
}

const comparedRows = 16;

/** Rows that the training graph and the serving engine both evaluate after the run: from the validation rows, if there are any. */
export function comparedBatches({ train, valid }: TaskData, batchSize: number) {
  const rows = (valid.length > 0 ? valid : train).slice(0, comparedRows);
  return { rows: rows.length, batches: plainTaskBatches(rows, batchSize) };
}
