/** Training objectives: the loss of a step and its inputs, for next tokens (sft) or preferences (dpo). */
import { float32At } from "../base/list.js";
import { Tensor } from "../runtime/tensor.js";
import { labelledPlaces, type TokenBatch } from "./data/batch.js";
import { type Loss, preference, weightedSum } from "./losses.js";
import type { EvaluateOptions, RunOptions, StepResult, Weights } from "./step.js";

/** The part of a step that a run uses. Tests use fakes. */
export interface Stepper {
  readonly values: Float32Array;
  readonly gradients: Float32Array;
  run(batch: TokenBatch, options?: RunOptions): Promise<StepResult>;
  evaluate(batch: TokenBatch, options?: EvaluateOptions): Promise<StepResult>;
}

export interface Objective {
  readonly loss: Loss;
  /** The divisor of a step's loss: number of labels or pairs. */
  count(batch: TokenBatch): number;
  /** The inputs for a batch's part of a mean over `total`. */
  feed(stepper: Stepper, batch: TokenBatch, total: number, signal: AbortSignal): Promise<RunOptions>;
  /** A batch's part of the mean over `total`, by a forward pass. */
  evaluate(stepper: Stepper, batch: TokenBatch, total: number, signal: AbortSignal): Promise<BatchEvaluation>;
}

export interface BatchEvaluation {
  readonly loss: number;
  /** DPO: how much the reward of the chosen answer exceeds that of the rejected one. */
  readonly margin?: number;
  /** The share of labels that are the likeliest token, if they are counted; DPO: of pairs whose chosen answer has the higher reward. */
  readonly accuracy?: number;
}

/** The mean loss of all labels, however they are split into batches. */
export const nextToken: Objective = {
  loss: weightedSum,
  count: (batch) => labelledPlaces(batch).places.length,
  feed: async (_stepper, _batch, total) => ({ labelWeight: 1 / Math.max(total, 1) }),
  async evaluate(stepper, batch, total, signal) {
    const { tokenLosses, tokenHits } = await stepper.evaluate(batch, { signal });
    const mean = (values: Float32Array): number => values.reduce((sum, value) => sum + value, 0) / Math.max(total, 1);
    return { loss: mean(tokenLosses), ...(tokenHits ? { accuracy: mean(tokenHits) } : {}) };
  },
};

/** Direct preference optimization over pairs in adjacent rows. The reference is the base model, or the --init-from adapter. */
export function preferences(beta: number): Objective {
  const margins = async (stepper: Stepper, batch: TokenBatch, weights: Weights, signal: AbortSignal) => {
    const { tokenLosses } = await stepper.evaluate(batch, { weights, signal });
    return marginsOf(pairSigns(batch), tokenLosses);
  };
  return {
    loss: preference(beta),
    count: ({ rows }) => rows / 2,
    async feed(stepper, batch, total, signal) {
      const weights = new Float32Array(batch.rows / 2).fill(1 / Math.max(total, 1));
      return { inputs: inputsOf(pairSigns(batch), await margins(stepper, batch, "reference", signal), weights) };
    },
    async evaluate(stepper, batch, total, signal) {
      const reference = await margins(stepper, batch, "reference", signal);
      const now = await margins(stepper, batch, "trained", signal);
      const gained = Array.from(now, (margin, pair) => beta * (margin - float32At(reference, pair)));
      const mean = (values: readonly number[]): number => values.reduce((sum, x) => sum + x, 0) / Math.max(total, 1);
      return {
        loss: mean(gained.map((margin) => Math.log1p(Math.exp(-margin)))),
        margin: mean(gained),
        accuracy: mean(gained.map((margin) => (margin > 0 ? 1 : 0))),
      };
    },
  };
}

interface Signs {
  readonly pairs: number;
  readonly labels: number;
  /** [pairs, labels] */
  readonly data: Float32Array<ArrayBuffer>;
}

/** 1 for the labels of a pair's chosen row, -1 for those of the rejected one. */
function pairSigns(batch: TokenBatch): Signs {
  const { places } = labelledPlaces(batch);
  const pairs = batch.rows / 2;
  const data = new Float32Array(pairs * places.length);
  for (const [i, place] of places.entries()) {
    const row = Math.floor(place / batch.length);
    data[Math.floor(row / 2) * places.length + i] = row % 2 === 0 ? 1 : -1;
  }
  return { pairs, labels: places.length, data };
}

/** Log-likelihood of the chosen answer minus that of the rejected one, for each pair. */
function marginsOf({ pairs, labels, data }: Signs, tokenLosses: Float32Array): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: pairs }, (_, pair) => {
    let margin = 0;
    for (let i = 0; i < labels; i++) margin -= float32At(data, pair * labels + i) * float32At(tokenLosses, i);
    return margin;
  });
}

function inputsOf(
  { pairs, labels, data }: Signs,
  margins: Float32Array<ArrayBuffer>,
  weights: Float32Array<ArrayBuffer>,
): Map<string, Tensor> {
  return new Map<string, Tensor>([
    ["pair_signs", Tensor.from("float32", [pairs, labels], data)],
    ["reference_margins", Tensor.from("float32", [pairs], margins)],
    ["pair_weights", Tensor.from("float32", [pairs], weights)],
  ]);
}
