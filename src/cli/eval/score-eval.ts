/** `eval` of a decoder with a classification head, its own or an adapter's: the loss and the metrics of classification, by the serving engine. */

import { checkAdapter } from "../../adapter/format.js";
import type { Progress } from "../../base/log.js";
import { scorePath, storedModules } from "../../model/modules.js";
import type { OpenedHead } from "../../train/files/adapter-files.js";
import { scoreGoal } from "../../train/score/goal.js";
import { openServedScores, scoreInputs } from "../../train/score/served.js";
import type { ServedOptions } from "../../train/served.js";
import { evaluateServed } from "../../train/tasks/served-task.js";
import { loadTaskData } from "../../train/tasks/task-data.js";
import { plainTaskBatches } from "../../train/tasks/trainable.js";
import type { ScoreBase } from "../train/score-base.js";
import { scoreTask } from "../train/score-job.js";
import { UsageError } from "../usage.js";
import { evaluatedRows, type TaskFigures } from "./task-eval.js";

export interface ScoreEvalOptions {
  readonly data: string;
  /** null: all. */
  readonly maxEvalSamples: number | null;
  readonly served: ServedOptions;
  readonly signal: AbortSignal;
  readonly progress: Progress;
}

/** The layer of an adapter's labels; null if it has none. Throws what checking the adapter throws. */
export async function adapterHead(
  adapter: string,
  { checkpoint }: Pick<ServedOptions, "checkpoint">,
): Promise<OpenedHead | null> {
  const { saved, labels } = await checkAdapter(adapter, storedModules(checkpoint));
  const head = saved.find(({ path }) => path === scorePath);
  return head ? { outFeatures: head.outFeatures, labels } : null;
}

/** The test rows, or the validation rows, or all rows. `head`: that classifies. */
export async function evaluateScores(
  { reader }: Pick<ScoreBase, "reader">,
  head: OpenedHead,
  options: ScoreEvalOptions,
): Promise<TaskFigures> {
  const { signal, progress, served: engine } = options;
  const data = await loadTaskData(reader, {
    ...{ path: options.data, progress, signal },
    ...{ seed: 0, validationSplit: 0, maxEvalSamples: Number.MAX_SAFE_INTEGER },
  });
  const rows = evaluatedRows(data).slice(0, options.maxEvalSamples ?? undefined);
  if (rows.length === 0) throw new UsageError([`${options.data} has no row to evaluate.`]);
  const { objective } = scoreGoal(data, null, head);
  await using served = await openServedScores(engine);
  const evaluation = await evaluateServed(served, {
    ...{ inputs: scoreInputs, objective, signal, needsNumbers: true },
    batches: plainTaskBatches(rows, engine.maxBatch),
    progress: (done, total) => progress("evaluating", done, total),
  });
  return { task: scoreTask, rows: rows.length, data: data.digest, adapter: served.digest, ...evaluation };
}
