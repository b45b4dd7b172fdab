/** What a run is asked to do, with the defaults that users of other trainers know. Knows no flag. */
import type { BaseDtype } from "../engine/start.js";
import { constant, cosine, linear, type Schedule, warmUp } from "./optimizer/schedule.js";
import type { TrainOn } from "./train-on.js";

export interface TrainSettings {
  /** Supervised rows into an adapter, preference pairs into one, or supervised rows into every weight. */
  readonly method: "sft" | "dpo" | "full";
  /** The form of the frozen weights that the adapter is trained over. */
  readonly baseDtype: BaseDtype;
  readonly rank: number;
  readonly alpha: number;
  readonly dropout: number;
  readonly rslora: boolean;
  /** Weight-decomposed (arXiv:2402.09353). */
  readonly dora: boolean;
  /** B's rate over A's (LoRA+, arXiv:2402.12354); 1 is plain LoRA. */
  readonly loraPlus: number;
  /** How the finished adapter's tensors are written; checkpoints are always float32. */
  readonly saveDtype: "fp32" | "bf16";
  /** `all-linear`, or names of layers. */
  readonly targets: readonly string[];
  /** Peak rate. */
  readonly rate: number;
  readonly schedule: "cosine" | "linear" | "constant";
  /** What is left of the rate at the end. */
  readonly rateFloor: number;
  /** Part of all steps in which the rate rises, and at least so many steps. */
  readonly warmUp: number;
  readonly warmUpSteps: number;
  readonly batch: number;
  readonly accumulate: number;
  /** Steps whose rows are drawn together and sorted by length. */
  readonly lengthWindow: number;
  readonly epochs: number;
  /** Steps in all, instead of epochs. */
  readonly steps: number | null;
  readonly maxTimeMs: number | null;
  /** Tokens of the longest row. */
  readonly length: number;
  /** Which tokens of a row are learned. */
  readonly trainOn: TrainOn;
  readonly packing: boolean;
  /** Make a layer's activations again on the way back: slower, in a fraction of the memory. */
  readonly gradientCheckpointing: boolean;
  readonly weightDecay: number;
  /** Longest gradient; 0 clips nothing. */
  readonly clip: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  readonly seed: number;
  /** Steps between validations, each with a checkpoint; null: ten over the run. */
  readonly evalEvery: number | null;
  /** Validations without a better loss after which the run ends; null: never. */
  readonly patience: number | null;
  /** Whether the result is the best checkpoint instead of the last. */
  readonly loadBestModelAtEnd: boolean;
  readonly validShare: number;
  readonly validRows: number;
  readonly labelTemplate: string;
  /** DPO's strength. */
  readonly beta: number;
  /** Last checkpoints kept besides the best. */
  readonly keep: number;
}

/** All but the rate, which depends on the model: `defaultRate`. */
export const trainDefaults = {
  method: "sft",
  baseDtype: "fp32",
  rank: 16,
  alpha: 32,
  dropout: 0,
  rslora: false,
  dora: false,
  loraPlus: 1,
  saveDtype: "fp32",
  targets: ["all-linear"],
  schedule: "cosine",
  rateFloor: 0.1,
  warmUp: 0.03,
  warmUpSteps: 5,
  batch: 8,
  accumulate: 2,
  lengthWindow: 4,
  epochs: 3,
  steps: null,
  maxTimeMs: null,
  length: 1024,
  trainOn: "answers",
  packing: false,
  gradientCheckpointing: false,
  weightDecay: 0.01,
  clip: 1,
  beta1: 0.9,
  beta2: 0.999,
  epsilon: 1e-8,
  seed: 42,
  evalEvery: null,
  patience: null,
  loadBestModelAtEnd: false,
  validShare: 0.1,
  validRows: 500,
  labelTemplate: "{text}\nlabel: {label}",
  beta: 0.1,
  keep: 3,
} as const satisfies Omit<TrainSettings, "rate">;

/** The whole run's steps. */
export function totalSteps({ steps, epochs }: Pick<TrainSettings, "steps" | "epochs">, stepsPerEpoch: number): number {
  return steps ?? Math.max(1, Math.round(epochs * stepsPerEpoch));
}

/** Warm-up, then the schedule over the steps that are left. */
export function scheduleOf(settings: TrainSettings, total: number): Schedule {
  const { rate, rateFloor } = settings;
  const warm = Math.min(Math.max(settings.warmUpSteps, Math.round(settings.warmUp * total)), total - 1);
  const left = total - warm;
  switch (settings.schedule) {
    case "cosine":
      return warmUp(warm, cosine(rate, left, rateFloor));
    case "linear":
      return warmUp(warm, linear(rate, left, rateFloor));
    case "constant":
      return warmUp(warm, constant(rate));
  }
}

/** Steps between validations: as asked, or so that there are about ten. */
export function validateEvery({ evalEvery }: TrainSettings, total: number): number {
  return evalEvery ?? Math.max(1, Math.ceil(total / 10));
}
