/** `eval` of a task model or its adapter: the loss and the metrics of the task, by the serving engine. */

import { assert } from "../../base/errors.js";
import type { Progress } from "../../base/log.js";
import { evaluateServed, openServedTask } from "../../train/tasks/served-task.js";
import { translateServed } from "../../train/tasks/served-translation.js";
import type { TrainedTask } from "../../train/tasks/setups/open.js";
import type { TaskGoal } from "../../train/tasks/setups/setup.js";
import { openTaskAdapter } from "../../train/tasks/task-adapter.js";
import { loadTaskData, type TaskData } from "../../train/tasks/task-data.js";
import { TaskStep } from "../../train/tasks/task-step.js";
import { plainTaskBatches, type TaskBatch, taskTrainable } from "../../train/tasks/trainable.js";
import type { Evaluation } from "../../train/trainable.js";
import { openTaskBase, type TaskBase } from "../train/task-base.js";
import { UsageError } from "../usage.js";

export interface TaskEvalOptions {
  /** Of the model. */
  readonly path: string;
  readonly task: TrainedTask | null;
  readonly data: string;
  readonly maxLength: number | null;
  /** null: all. */
  readonly maxEvalSamples: number | null;
  /** A PEFT folder; null: only the base. */
  readonly adapter: string | null;
  readonly maxBatch: number;
  readonly threads: number;
  readonly signal: AbortSignal;
  readonly progress: Progress;
}

export interface TaskFigures {
  readonly task: string;
  readonly rows: number;
  readonly data: string;
  /** Digest of the adapter's weights. */
  readonly adapter: string | null;
  readonly loss: number;
  readonly metrics: Evaluation["metrics"];
  /** The same without the adapter; of encoder-decoders with one. */
  readonly base?: Evaluation;
}

/** The test rows, or the validation rows, or all rows. Throws what opening model, adapter and data throws. */
export async function evaluateTask(options: TaskEvalOptions): Promise<TaskFigures> {
  const { path, task, maxLength, threads, signal, progress } = options;
  await using base = await openTaskBase(path, { task, maxLength, threads, signal });
  const modules = base.modules.map(({ module }) => module);
  const targets = base.modules.map(({ target }) => target);
  const adapter = options.adapter === null ? null : await openTaskAdapter(options.adapter, modules, targets);
  const data = await loadTaskData(base.setup.reader, {
    ...{ path: options.data, progress, signal },
    ...{ seed: 0, validationSplit: 0, maxEvalSamples: Number.MAX_SAFE_INTEGER },
  });
  const rows = evaluatedRows(data).slice(0, options.maxEvalSamples ?? undefined);
  if (rows.length === 0) throw new UsageError([`${options.data} has no row to evaluate.`]);
  const goal = base.setup.objective(data, adapter?.labels ?? null);
  const batches = plainTaskBatches(rows, options.maxBatch);
  const evaluation =
    base.probe === null
      ? await evaluatePair(base, goal, batches, adapter, options)
      : await evaluateEngine(base, goal, batches, options);
  return {
    ...{ task: base.task, rows: rows.length, data: data.digest, adapter: adapter?.digest ?? null },
    ...evaluation,
  };
}

/** The test rows, or the validation rows, or all rows. */
export function evaluatedRows({ train, valid, test }: TaskData) {
  if (test.length > 0) return test;
  return valid.length > 0 ? valid : train;
}

async function evaluateEngine(
  { model, probe, modules, setup }: TaskBase,
  { objective }: TaskGoal,
  batches: readonly TaskBatch[],
  { adapter, threads, signal, progress }: TaskEvalOptions,
): Promise<Evaluation> {
  assert(probe, "a served model of one graph was probed");
  const targets = modules.map(({ target }) => target);
  await using served = await openServedTask({ model, probe, targets, adapter, threads });
  const report = (done: number, total: number): void => progress("evaluating", done, total);
  const rows = { inputs: setup.inputs, objective, batches, needsNumbers: true };
  return await evaluateServed(served, { ...rows, signal, progress: report });
}

/** Of an encoder-decoder: answers by the serving engine, with the adapter and without. */
async function evaluatePair(
  base: TaskBase,
  goal: TaskGoal,
  batches: readonly TaskBatch[],
  adapter: TrainedAdapter | null,
  options: TaskEvalOptions,
): Promise<Pick<TaskFigures, "loss" | "metrics" | "base">> {
  const { generation: text } = goal;
  assert(text, "an encoder-decoder generates texts");
  const losses = await evaluateGraph(base, goal, batches, adapter, options);
  const own = adapter === null ? null : await evaluateGraph(base, goal, batches, null, options);
  const { maxBatch, threads, signal, progress } = options;
  const answers = await translateServed({
    ...{ model: base.model, adapter: options.adapter, text, rows: batches.flat(), maxBatch, threads, signal },
    targets: base.modules.map(({ target }) => target),
    progress: (done, total) => progress("answering", done, total),
  });
  return {
    loss: losses.loss,
    metrics: { ...losses.metrics, ...answers.metrics },
    ...(own && { base: { loss: own.loss, metrics: { ...own.metrics, ...answers.base } } }),
  };
}

type TrainedAdapter = Awaited<ReturnType<typeof openTaskAdapter>>;

/** The loss of given targets, which the engine does not give. */
async function evaluateGraph(
  { graph, setup }: TaskBase,
  { objective }: TaskGoal,
  batches: readonly TaskBatch[],
  adapter: TrainedAdapter | null,
  { threads, signal, progress, maxBatch }: TaskEvalOptions,
): Promise<Evaluation> {
  const targets = adapter?.targets ?? [];
  using step = new TaskStep({ graph, targets, initializers: [], loss: objective.loss, threads });
  await adapter?.readInto(step.parameters);
  const settings = { batchSize: maxBatch, loraDropout: 0, seed: 0 };
  const trainable = taskTrainable({ step, inputs: setup.inputs, objective, assessment: null, settings });
  return await trainable.evaluate(batches, { signal, progress: (done, total) => progress("evaluating", done, total) });
}
