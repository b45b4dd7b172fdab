/** What makes a task trainable: how rows become inputs of the model, what is lost on them, and how good the answers are. */

import { assert } from "../../base/errors.js";
import type { Tensor } from "../../runtime/tensor.js";
import type { RowPlace } from "../data/faults.js";
import type { Metrics } from "../trainable.js";
import type { TaskLoss } from "./task-step.js";

/** A row: what the model sees, and what it should answer. */
export interface TaskExample<Source = unknown, Target = unknown> {
  readonly source: Source;
  readonly target: Target;
  /** Tokens of a text; 1 for anything else. Rows of similar sizes share a step. */
  readonly size: number;
  readonly place: RowPlace;
}

export interface TaskInputs<Source> {
  /** The model's inputs for these rows. Rows from `sources.length` on repeat the first. */
  feeds(sources: readonly Source[], rows: number): Promise<Map<string, Tensor>>;
}

/** A row of the model's outputs: `[row, ...]` tensors by name. */
export type Outputs = ReadonlyMap<string, Tensor>;

export interface TaskObjective<Target> {
  /** The model's outputs that it reads. */
  readonly outputs: readonly string[];
  /** The model's inputs that its loss reads. Default: none. */
  readonly inputs?: readonly string[];
  readonly loss: TaskLoss;
  /** What `count` counts. Default: rows. */
  readonly unit?: string;
  /** How many parts of the mean a row has, such as its labels. */
  count(target: Target): number;
  /** Inputs of the loss, in which each part weighs `weight`. Rows from `targets.length` on count nothing. */
  feeds(targets: readonly Target[], rows: number, weight: number, context: FeedContext): Promise<Map<string, Tensor>>;
  meter(): Meter<Target>;
}

export interface FeedContext {
  /** The model's inputs of these rows. */
  readonly inputs: ReadonlyMap<string, Tensor>;
  /** The outputs for these rows by the present weights, for targets that depend on them. */
  predict(): Promise<Outputs>;
}

/** Collects outputs and measures them. */
export interface Meter<Target> {
  add(outputs: Outputs, targets: readonly Target[], inputs: ReadonlyMap<string, Tensor>): void;
  metrics(): Metrics;
}

export function outputOf<T>(outputs: ReadonlyMap<string, T>, name: string): T {
  const output = outputs.get(name);
  assert(output !== undefined, `the model has the output ${name}`);
  return output;
}
