/** The seam between what a step computes and what a run does with it: a run knows no model and no kind of batch. */

export interface Trainable<Batch> {
  /** All parameters, concatenated. */
  readonly values: Float32Array;
  /** Overwritten by `run`. */
  readonly gradients: Float32Array;
  /** The divisor of a mean: a batch's labels, pairs or rows. */
  count(batch: Batch): number;
  /** Tokens (or rows) that a batch is trained on, without padding. */
  size(batch: Batch): number;
  /** The batch's part of the mean loss over `place.total`, and its gradients. */
  run(batch: Batch, place: RunPlace): Promise<number>;
  /** The mean loss and the metrics of the trained weights, by forward passes. */
  evaluate(batches: readonly Batch[], options: EvaluateOptions): Promise<Evaluation>;
}

export interface RunPlace {
  /** The count of all runs of the step. */
  readonly total: number;
  readonly step: number;
  /** The run within the step. */
  readonly run: number;
  readonly signal: AbortSignal;
}

export interface EvaluateOptions {
  readonly signal: AbortSignal;
  /** Before each batch. */
  readonly progress?: ((done: number, total: number) => void) | undefined;
}

export interface Evaluation {
  readonly loss: number;
  /** Further figures by name, such as `accuracy`. */
  readonly metrics: Metrics;
  /** Answers to a few rows, for people. */
  readonly samples?: readonly Sample[];
}

export interface Sample {
  readonly prompt: string;
  readonly expected: string;
  readonly answer: string;
}

export type Metrics = Readonly<Record<string, number>>;
