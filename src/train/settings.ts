/** The settings of a run and their defaults. The names are those of the options of `train`. */
import type { BaseDtype } from "../engine/start.js";
import type { LoraShape } from "./lora.js";
import { constant, cosine, linear, type Schedule, withWarmup } from "./optimizer/schedule.js";
import type { TrainOn } from "./train-on.js";

export interface TrainSettings {
  /** Supervised rows into an adapter, preference pairs into one, or supervised rows into every weight. */
  readonly method: "sft" | "dpo" | "full";
  /** Type of the frozen weights under the adapter. */
  readonly dtype: BaseDtype;
  readonly loraR: number;
  readonly loraAlpha: number;
  readonly loraDropout: number;
  readonly useRslora: boolean;
  /** Weight-decomposed (arXiv:2402.09353). */
  readonly useDora: boolean;
  /** Learning rate of B divided by that of A (LoRA+, arXiv:2402.12354); 1 is plain LoRA. */
  readonly loraplusLrRatio: number;
  /** Type of the saved adapter; checkpoints are always float32. */
  readonly saveDtype: "fp32" | "bf16";
  /** `all-linear`, or names of modules. */
  readonly targetModules: readonly string[];
  /** At its peak. */
  readonly learningRate: number;
  readonly lrSchedulerType: "cosine" | "linear" | "constant";
  /** The final learning rate, as a fraction of the peak. */
  readonly minLrRate: number;
  /** Steps over which the rate rises: a count, or below 1 a fraction of all steps; null: 3 %, at least 5 steps. */
  readonly warmupSteps: number | null;
  readonly batchSize: number;
  readonly gradientAccumulationSteps: number;
  /** Steps whose rows are drawn together and sorted by length. */
  readonly lengthWindow: number;
  readonly epochs: number;
  /** Overrides `epochs`. */
  readonly maxSteps: number | null;
  readonly maxTimeMs: number | null;
  /** Tokens of the longest row. */
  readonly maxLength: number;
  /** Which tokens of a row count in the loss. */
  readonly trainOn: TrainOn;
  readonly packing: boolean;
  /** Recompute activations in the backward pass: slower, but with much less memory. */
  readonly gradientCheckpointing: boolean;
  readonly weightDecay: number;
  /** 0 disables clipping. */
  readonly maxGradNorm: number;
  readonly adamBeta1: number;
  readonly adamBeta2: number;
  readonly adamEpsilon: number;
  readonly seed: number;
  /** Steps between validations, each of which saves a checkpoint; null: about ten over the run. */
  readonly evalSteps: number | null;
  /** Validations without improvement after which the run stops; null: never. */
  readonly earlyStoppingPatience: number | null;
  /** Whether the result is the best checkpoint rather than the last. */
  readonly loadBestModelAtEnd: boolean;
  readonly validationSplit: number;
  readonly maxEvalSamples: number;
  /** Whether validations also give the share of labels that are the likeliest token. */
  readonly tokenAccuracy: boolean;
  readonly labelTemplate: string;
  /** Of DPO: higher stays closer to the reference. */
  readonly beta: number;
  /** Of task models: the task where config.json names none, labels of a fresh head, modules that are saved whole. */
  readonly task: string | null;
  readonly labels: readonly string[] | null;
  readonly modulesToSave: readonly string[] | null;
  /** Most recent checkpoints to keep, besides the best. */
  readonly saveTotalLimit: number;
}

/** All but the learning rate, which depends on the model: see `defaultRate`. */
export const trainDefaults = {
  method: "sft",
  dtype: "fp32",
  loraR: 16,
  loraAlpha: 32,
  loraDropout: 0,
  useRslora: false,
  useDora: false,
  loraplusLrRatio: 1,
  saveDtype: "fp32",
  targetModules: ["all-linear"],
  lrSchedulerType: "cosine",
  minLrRate: 0.1,
  warmupSteps: null,
  batchSize: 8,
  gradientAccumulationSteps: 2,
  lengthWindow: 4,
  epochs: 3,
  maxSteps: null,
  maxTimeMs: null,
  maxLength: 1024,
  trainOn: "answers",
  packing: false,
  gradientCheckpointing: false,
  weightDecay: 0.01,
  maxGradNorm: 1,
  adamBeta1: 0.9,
  adamBeta2: 0.999,
  adamEpsilon: 1e-8,
  seed: 42,
  evalSteps: null,
  earlyStoppingPatience: null,
  loadBestModelAtEnd: false,
  validationSplit: 0.1,
  maxEvalSamples: 500,
  tokenAccuracy: false,
  labelTemplate: "{text}\nlabel: {label}",
  beta: 0.1,
  task: null,
  labels: null,
  modulesToSave: null,
  saveTotalLimit: 3,
} as const satisfies Omit<TrainSettings, "learningRate">;

export const shapeOf = ({ loraR, loraAlpha, useRslora }: TrainSettings): LoraShape => ({
  rank: loraR,
  alpha: loraAlpha,
  rslora: useRslora,
});

/** Steps of the whole run. */
export function totalSteps(
  { maxSteps, epochs }: Pick<TrainSettings, "maxSteps" | "epochs">,
  stepsPerEpoch: number,
): number {
  return maxSteps ?? Math.max(1, Math.round(epochs * stepsPerEpoch));
}

/** Warmup, then the schedule over the remaining steps. */
export function scheduleOf(settings: TrainSettings, total: number): Schedule {
  const { learningRate: rate, minLrRate } = settings;
  const warmup = Math.min(warmupSteps(settings.warmupSteps, total), total - 1);
  const remaining = total - warmup;
  switch (settings.lrSchedulerType) {
    case "cosine":
      return withWarmup(warmup, cosine(rate, remaining, minLrRate));
    case "linear":
      return withWarmup(warmup, linear(rate, remaining, minLrRate));
    case "constant":
      return withWarmup(warmup, constant(rate));
  }
}

/** Rounds a fraction up, as transformers does. */
function warmupSteps(asked: number | null, total: number): number {
  if (asked === null) return Math.max(5, Math.round(0.03 * total));
  return asked < 1 ? Math.ceil(asked * total) : asked;
}

/** Steps between validations: as set, or so that there are about ten. */
export function validateEvery({ evalSteps }: TrainSettings, total: number): number {
  return evalSteps ?? Math.max(1, Math.ceil(total / 10));
}
