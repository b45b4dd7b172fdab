/** What a run needs of whatever it trains, and the optimizer of every run. */

import type { Product } from "./files/product.js";
import {
  addDecayedWeights,
  chain,
  clipByGlobalNorm,
  type Optimizer,
  scaleByAdam,
  scaleByRate,
} from "./optimizer/optimizer.js";
import type { Schedule } from "./optimizer/schedule.js";
import type { TrainSettings } from "./settings.js";
import type { Parameter } from "./step.js";
import type { Trainable } from "./trainable.js";

export interface RunSession<Batch> extends AsyncDisposable {
  readonly trainable: Trainable<Batch>;
  /** What the trainable counts, such as tokens. */
  readonly unit: string;
  readonly product: Product;
  readonly optimizer: Optimizer;
  readonly schedule: Schedule;
  readonly plan: StepPlan<Batch>;
  readonly validation: readonly Batch[];
  readonly totalSteps: number;
  readonly validateEvery: number;
  readonly trainableParameters: number;
}

/** The batches of each step, a pure function of data, seed and step. */
export interface StepPlan<Batch> {
  readonly stepsPerEpoch: number;
  step(step: number): readonly Batch[];
  /** The batch that takes the most memory. */
  largest(): Batch;
}

/** AdamW with clipping, and for LoRA+ a higher rate for B. */
export function optimizerOf(settings: TrainSettings, parameters: readonly Parameter[], schedule: Schedule): Optimizer {
  const { maxGradNorm, loraplusLrRatio: ratio, adamBeta1: beta1, adamBeta2: beta2, adamEpsilon: epsilon } = settings;
  const groups = parameters
    .filter(({ name }) => ratio !== 1 && isProjection(name))
    .map(({ offset, data }) => ({ begin: offset, end: offset + data.length, factor: ratio }));
  const count = parameters.reduce((sum, { data }) => sum + data.length, 0);
  return chain(
    count,
    ...(maxGradNorm > 0 ? [clipByGlobalNorm(maxGradNorm)] : []),
    scaleByAdam({ beta1, beta2, epsilon }),
    addDecayedWeights(settings.weightDecay),
    scaleByRate(schedule, groups),
  );
}

/** Whether a parameter is a B, in a decoder or in a task model. */
const isProjection = (name: string): boolean => /\.lora_(?:embedding_)?B(?:\.weight)?$/.test(name);
