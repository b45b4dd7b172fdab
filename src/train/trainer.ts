/**
 * The training loop: batches, gradients, optimizer, validation, checkpoints. State, parameters and optimizer determine the rest of
 * a run, so a run that was interrupted anywhere ends like one that was not.
 */

import { LorikeetError } from "../base/errors.js";
import { float32At } from "../base/list.js";
import {
  divergenceRule,
  follow,
  hasDiverged,
  initialLevel,
  type LossLevel,
  settledLevel,
} from "./optimizer/divergence.js";
import { globalNorm, type Optimizer } from "./optimizer/optimizer.js";
import type { Evaluation, Trainable } from "./trainable.js";

/** Progress of a run. Checkpoints hold it as JSON. */
export interface TrainState {
  /** Steps done. */
  step: number;
  /** The validation with the lowest loss, and the last one. */
  best: Validated | null;
  last: Validated | null;
  /** Validations since the best. */
  sinceBest: number;
  /** Steps at which the last validation ran; -1: none yet. */
  validatedAt: number;
  level: LossLevel;
  /** Tokens (or rows) trained on, without padding. */
  tokens: number;
  elapsedMs: number;
}

/** Loss of a validation, and the step that it followed. */
export interface Validated {
  readonly step: number;
  readonly loss: number;
}

export const initialState = (): TrainState => ({
  step: 0,
  best: null,
  last: null,
  sinceBest: 0,
  validatedAt: -1,
  level: initialLevel,
  tokens: 0,
  elapsedMs: 0,
});

export interface StepReport {
  readonly step: number;
  readonly loss: number;
  readonly rate: number;
  readonly gradientNorm: number;
  readonly tokens: number;
  readonly ms: number;
}

export interface ValidationReport extends Evaluation {
  readonly step: number;
  readonly isBest: boolean;
}

export interface TrainerEvents {
  /** After each step. The next step waits for it. */
  step(report: StepReport): Promise<void> | void;
  /** Before each batch of a validation. */
  validating?(done: number, total: number): void;
  validated(report: ValidationReport): Promise<void> | void;
  /** Saves the state. */
  checkpoint(state: Readonly<TrainState>): Promise<void>;
}

export interface TrainerOptions<Batch> {
  readonly trainable: Trainable<Batch>;
  readonly optimizer: Optimizer;
  readonly rate: (step: number) => number;
  /** The runs of a step. */
  readonly batches: (step: number) => readonly Batch[];
  readonly validation: readonly Batch[];
  readonly steps: number;
  readonly validateEvery: number;
  readonly patience: number | null;
  readonly maxTimeMs: number | null;
  readonly events: TrainerEvents;
  /** Stops the run between two graph runs, with a checkpoint. */
  readonly signal: AbortSignal;
  readonly now?: () => number;
}

export type TrainEnd = "done" | "patience" | "time" | "interrupted" | "diverged";

/**
 * Runs from `state`, which it updates, to the end. Resolves with the reason. After `interrupted` the state is checkpointed; after
 * `diverged` the last checkpoint is older.
 */
export async function train<Batch>(options: TrainerOptions<Batch>, state: TrainState): Promise<TrainEnd> {
  const clock = new Clock(state, options.now ?? performance.now.bind(performance));
  let kept = state.step;
  try {
    for (;;) {
      if (isValidationDue(options, state)) {
        if (!(await validate(options, state))) return "diverged";
        clock.stamp();
        await options.events.checkpoint(state);
        kept = state.step;
      }
      if (state.step >= options.steps) return "done";
      if (options.patience !== null && state.sinceBest >= options.patience) return "patience";
      if (options.maxTimeMs !== null && state.elapsedMs >= options.maxTimeMs) return await stopEarly(options, state);
      options.signal.throwIfAborted();
      if (!(await advance(options, state, clock))) return "diverged";
    }
  } catch (error) {
    if (!options.signal.aborted) throw error;
    clock.stamp();
    if (kept !== state.step || state.step === 0) await options.events.checkpoint(state);
    return "interrupted";
  }
}

/** Out of time: validates and saves the latest weights too. */
async function stopEarly<Batch>(options: TrainerOptions<Batch>, state: TrainState): Promise<TrainEnd> {
  if (state.validatedAt !== state.step) {
    if (!(await validate(options, state))) return "diverged";
    await options.events.checkpoint(state);
  }
  return "time";
}

function isValidationDue(
  { steps, validateEvery }: Pick<TrainerOptions<unknown>, "steps" | "validateEvery">,
  { step, validatedAt }: TrainState,
): boolean {
  return validatedAt !== step && (step % validateEvery === 0 || step >= steps);
}

/** false if the loss is not a number: these weights are useless. */
async function validate<Batch>(options: TrainerOptions<Batch>, state: TrainState): Promise<boolean> {
  if (options.validation.length > 0) {
    const { signal, validation, events } = options;
    const found = await options.trainable.evaluate(validation, { signal, progress: events.validating });
    const { loss } = found;
    if (!Number.isFinite(loss)) return false;
    const isBest = state.best === null || loss < state.best.loss;
    state.last = { step: state.step, loss };
    if (isBest) state.best = state.last;
    state.sinceBest = isBest ? 0 : state.sinceBest + 1;
    await options.events.validated({ step: state.step, ...found, isBest });
  }
  state.validatedAt = state.step;
  return true;
}

/** One step; false if the loss has diverged. The parameters are useless then. */
async function advance<Batch>(options: TrainerOptions<Batch>, state: TrainState, clock: Clock): Promise<boolean> {
  const { trainable, optimizer, events } = options;
  const began = clock.stamp();
  const { loss, gradients, tokens } = await accumulate(options, state.step);
  const gradientNorm = globalNorm(gradients);
  if (!Number.isFinite(loss) || !Number.isFinite(gradientNorm)) return false;
  // Both are losses of the untouched weights, and easy rows may make one of them small.
  const untouched = state.step === 0 && state.last ? Math.max(state.last.loss, loss) : null;
  state.level = untouched === null ? follow(state.level, loss) : settledLevel(untouched);
  if (hasDiverged(state.level)) return false;
  const rate = options.rate(state.step);
  optimizer.step(trainable.values, gradients, state.step);
  state.step++;
  state.tokens += tokens;
  await events.step({ step: state.step, loss, rate, gradientNorm, tokens, ms: clock.stamp() - began });
  return true;
}

/** The step's loss and gradients, summed over its runs. Each run adds its part of the mean over the whole step. */
async function accumulate<Batch>(
  { trainable, batches, signal }: TrainerOptions<Batch>,
  step: number,
): Promise<{ loss: number; gradients: Float32Array; tokens: number }> {
  const runs = batches(step);
  const total = runs.reduce((sum, batch) => sum + trainable.count(batch), 0);
  let [loss, tokens] = [0, 0];
  let sum: Float32Array | null = null;
  for (const [run, batch] of runs.entries()) {
    signal.throwIfAborted();
    loss += await trainable.run(batch, { total, step, run, signal });
    tokens += trainable.size(batch);
    if (runs.length > 1) sum = sum === null ? trainable.gradients.slice() : addInto(sum, trainable.gradients);
  }
  return { loss, gradients: sum ?? trainable.gradients, tokens };
}

function addInto(sum: Float32Array, more: Float32Array): Float32Array {
  for (let i = 0; i < sum.length; i++) sum[i] = float32At(sum, i) + float32At(more, i);
  return sum;
}

/** Adds elapsed time to the state. */
class Clock {
  readonly #state: TrainState;
  readonly #now: () => number;
  #last: number;

  constructor(state: TrainState, now: () => number) {
    this.#state = state;
    this.#now = now;
    this.#last = now();
  }

  /** Milliseconds of the whole run. */
  stamp(): number {
    const now = this.#now();
    this.#state.elapsedMs += now - this.#last;
    this.#last = now;
    return this.#state.elapsedMs;
  }
}

/** The error of a diverged run; it says that the weights of `keptStep` are in `out`. */
export function divergedError({ step }: TrainState, keptStep: number, out: string): LorikeetError {
  const why = `it is not a number, or it was ${divergenceRule}`;
  const saved = `The weights of step ${keptStep} are saved: ${out}.`;
  const advice = "Try a lower --learning-rate or a larger --warmup-steps, with --overwrite to replace the result.";
  return new LorikeetError("invalid_value", `The loss diverged after ${step} steps (${why}). ${saved} ${advice}`, {
    param: "--learning-rate",
  });
}
