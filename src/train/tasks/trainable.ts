/** A task model's step and objective as a run sees them. A batch is a list of examples. */

import { at } from "../../base/list.js";
import type { Tensor } from "../../runtime/tensor.js";
import { drawSteps, slices } from "../data/draw-steps.js";
import { dropoutMask } from "../dropout.js";
import type { StepPlan } from "../run-session.js";
import type { TrainSettings } from "../settings.js";
import type { Trainable } from "../trainable.js";
import type { Assessment } from "./assessment.js";
import type { TaskStep } from "./task-step.js";
import type { Outputs, TaskExample, TaskInputs, TaskObjective } from "./types.js";

export type TaskBatch = readonly TaskExample[];

export interface TaskTrainableOptions {
  readonly step: TaskStep;
  readonly inputs: TaskInputs<unknown>;
  readonly objective: TaskObjective<unknown>;
  /** What validations do beside the loss; null: nothing. */
  readonly assessment: Assessment | null;
  readonly settings: Pick<TrainSettings, "batchSize" | "loraDropout" | "seed">;
}

export function taskTrainable(options: TaskTrainableOptions): Trainable<TaskBatch> {
  const { step, inputs, objective, assessment, settings } = options;
  const { batchSize, loraDropout, seed } = settings;
  const count = (batch: TaskBatch): number => batch.reduce((sum, { target }) => sum + objective.count(target), 0);
  /** Every batch has the rows of a whole one, so that one graph computes all. */
  const feedsOf = async (batch: TaskBatch, total: number, signal: AbortSignal) => {
    const given = await inputs.feeds(
      batch.map(({ source }) => source),
      batchSize,
    );
    const targets = batch.map(({ target }) => target);
    const context = { inputs: given, predict: () => step.predict(given, signal) };
    const more = await objective.feeds(targets, batchSize, 1 / Math.max(total, 1), context);
    return { given, feeds: new Map([...given, ...more]), targets };
  };
  return {
    values: step.values,
    gradients: step.gradients,
    count,
    size: (batch) => batch.reduce((sum, { size }) => sum + size, 0),
    async run(batch, { total, step: number, run, signal }) {
      const { feeds } = await feedsOf(batch, total, signal);
      const masks = (shape: readonly number[], module: number): Tensor =>
        dropoutMask(shape, loraDropout, { seed, step: number, run, module });
      return await step.run(feeds, { masks, signal });
    },
    async evaluate(batches, { signal, progress }) {
      const total = batches.reduce((sum, batch) => sum + count(batch), 0);
      const meter = objective.meter();
      let loss = 0;
      for (const [i, batch] of batches.entries()) {
        signal.throwIfAborted();
        progress?.(i, batches.length);
        const { given, feeds, targets } = await feedsOf(batch, total, signal);
        const found = await step.evaluate(feeds, signal);
        loss += found.loss;
        meter.add(found.outputs, targets, given);
      }
      const metrics = meter.metrics();
      if (assessment === null) return { loss, metrics };
      const predict = async (sources: readonly unknown[]): Promise<Outputs> => {
        signal.throwIfAborted();
        const given = await inputs.feeds(sources, batchSize);
        return new Map([...given, ...(await step.predict(given, signal))]);
      };
      const more = await assessment.assess(batches.flat(), { predict, batchSize });
      return { loss, metrics: { ...metrics, ...more.metrics }, samples: more.samples };
    },
  };
}

/** The batches of each step, a pure function of rows, seed and step. */
export class TaskPlan implements StepPlan<TaskBatch> {
  readonly stepsPerEpoch: number;
  readonly #examples: readonly TaskExample[];
  readonly #settings: TrainSettings;
  #epoch = -1;
  #steps: readonly (readonly number[])[] = [];

  constructor(examples: readonly TaskExample[], settings: TrainSettings) {
    this.#examples = examples;
    this.#settings = settings;
    this.stepsPerEpoch = Math.max(1, this.#stepsOf(0).length);
  }

  step(step: number): TaskBatch[] {
    const steps = this.#stepsOf(Math.floor(step / this.stepsPerEpoch));
    return slices(at(steps, step % this.stepsPerEpoch), this.#settings.batchSize).map((rows) => this.#batch(rows));
  }

  /** The one with the longest row. */
  largest(): TaskBatch {
    return this.#extreme((size, most) => size > most);
  }

  smallest(): TaskBatch {
    return this.#extreme((size, least) => size < least);
  }

  #extreme(isBeyond: (size: number, than: number) => boolean): TaskBatch {
    const batches = this.#stepsOf(0).flatMap((rows) => slices(rows, this.#settings.batchSize));
    const sizeOf = (rows: readonly number[]): number => Math.max(...this.#batch(rows).map(({ size }) => size));
    return this.#batch(batches.reduce((found, rows) => (isBeyond(sizeOf(rows), sizeOf(found)) ? rows : found)));
  }

  #batch(rows: readonly number[]): TaskBatch {
    return rows.map((row) => at(this.#examples, row));
  }

  #stepsOf(epoch: number): readonly (readonly number[])[] {
    if (epoch !== this.#epoch) {
      const { batchSize, gradientAccumulationSteps } = this.#settings;
      const sizes = this.#examples.map(({ size }) => size);
      this.#steps = drawSteps(sizes, batchSize * gradientAccumulationSteps, this.#settings, epoch);
      this.#epoch = epoch;
    }
    return this.#steps;
  }
}

/** Batches in a fixed order, for validation. */
export function plainTaskBatches(examples: readonly TaskExample[], batchSize: number): TaskBatch[] {
  return slices(
    [...examples].sort((a, b) => a.size - b.size),
    batchSize,
  );
}
