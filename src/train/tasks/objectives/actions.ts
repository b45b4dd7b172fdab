/** Policies from transitions that say how well they went: action values of DQN, and policy gradients. */

import { float32At } from "../../../base/list.js";
import type { Value } from "../../../graph/types.js";
import { Tensor } from "../../../runtime/tensor.js";
import { elementCount } from "../../../tensor/shape.js";
import type { Metrics } from "../../trainable.js";
import { actionValue, lossInputs, policyGradient, squaredError } from "../losses.js";
import { type Meter, type Outputs, outputOf, type TaskObjective } from "../types.js";
import { labelFeeds } from "./classification.js";

/** An action taken, and what its value should be. */
export interface ValuedAction {
  readonly action: number;
  readonly target: number;
}

/** DQN's step: the value of the action taken moves to its target, by Huber's loss. `output`: values of all actions. */
export function actionValues(output: string): TaskObjective<ValuedAction> {
  return {
    outputs: [output],
    loss: (op, outputs) => actionValue(op, outputOf(outputs, output)),
    count: () => 1,
    async feeds(targets, rows, weight) {
      const targetWeights = Tensor.zeros("float32", [rows, 1]);
      const values = Tensor.zeros("float32", [rows, 1]);
      for (const [row, { target }] of targets.entries()) [values.data[row], targetWeights.data[row]] = [target, weight];
      const actions = targets.map(({ action }) => action);
      return labelFeeds(actions, rows, weight)
        .set(lossInputs.targets, values)
        .set(lossInputs.targetWeights, targetWeights);
    },
    meter: () =>
      new MeanMeter((outputs, { action, target }, row) => ({
        mean_absolute_error: Math.abs(float32At(rowOf(outputs, output, row), action) - target),
      })),
  };
}

/**
 * An action taken, how much better than expected it went on, and what it went on to earn. null: the row does not say. `probability`: that of the
 * action under the policy that was recorded, in (0, 1].
 */
export interface JudgedAction {
  readonly action: number;
  readonly advantage: number | null;
  readonly earned: number | null;
  readonly probability: number | null;
}

/** Weights of the parts of an actor-critic's loss, as A3C has them (arXiv:1602.01783). */
const shares = { value: 0.5, entropy: 0.01 } as const;

/**
 * The policy gradient: actions become likelier by their advantage, and all of them a little more alike. `critic`: the output of values, which
 * moves to what was earned; null: it is not trained. The metric `mean_return` is the weighted importance sampling estimate of what the policy
 * would earn by choosing this step's action (Precup, Sutton and Singh, "Eligibility Traces for Off-Policy Policy Evaluation", 2000).
 */
export function advantages(output: string, critic: string | null): TaskObjective<JudgedAction> {
  return {
    outputs: critic === null ? [output] : [output, critic],
    loss(op, outputs) {
      const gained = policyGradient(op, outputOf(outputs, output), shares.entropy);
      if (critic === null) return gained;
      return op.add(gained, op.scale(squaredError(op, outputOf<Value>(outputs, critic)), shares.value));
    },
    count: () => 1,
    async feeds(targets, rows, weight) {
      const actions = targets.map(({ action }) => action);
      const gains = targets.map(({ advantage }) => (advantage ?? 0) * weight);
      const counted = weightsOf(targets, rows, weight, ({ advantage }) => advantage !== null);
      const feeds = labelFeeds(actions, rows, gains).set(lossInputs.hidden, counted);
      if (critic === null) return feeds;
      const values = Tensor.zeros("float32", [rows, 1]);
      for (const [row, { earned }] of targets.entries()) values.data[row] = earned ?? 0;
      const weights = weightsOf(targets, rows, weight, ({ earned }) => earned !== null);
      return feeds.set(lossInputs.targets, values).set(lossInputs.targetWeights, weights);
    },
    meter: () =>
      new MeanMeter((outputs, { action, earned, probability }, row) => {
        const chance = likelihood(rowOf(outputs, output, row), action);
        return {
          likelihood: chance,
          ...(earned !== null && { mean_return: { value: earned, weight: chance / (probability ?? 1) } }),
          ...(critic !== null &&
            earned !== null && { value_error: Math.abs(float32At(rowOf(outputs, critic, row), 0) - earned) }),
        };
      }),
  };
}

/** The weight of each row that counts, and 0 for others and padding: [rows, 1]. */
function weightsOf<T>(targets: readonly T[], rows: number, weight: number, counts: (target: T) => boolean): Tensor {
  const weights = Tensor.zeros("float32", [rows, 1]);
  for (const [row, target] of targets.entries()) weights.data[row] = counts(target) ? weight : 0;
  return weights;
}

/** The values of an output of a row. */
export function rowOf(outputs: Outputs, name: string, row: number): Float32Array {
  const { data, shape } = outputOf(outputs, name);
  const width = elementCount(shape.slice(1));
  return data.subarray(row * width, (row + 1) * width) as Float32Array;
}

/** The softmax of one of the logits. */
export function likelihood(logits: Float32Array, action: number): number {
  const chosen = float32At(logits, action);
  return 1 / logits.reduce((sum, logit) => sum + Math.exp(logit - chosen), 0);
}

interface WeightedFigure {
  readonly value: number;
  readonly weight: number;
}

/** A row's figures by their names. A plain number has the weight 1. */
type Figures = Readonly<Record<string, number | WeightedFigure>>;

/** Weighted means of figures of rows. */
class MeanMeter<Target> implements Meter<Target> {
  readonly #figuresOf: (outputs: Outputs, target: Target, row: number) => Figures;
  readonly #sums = new Map<string, { readonly sum: number; readonly weight: number }>();

  constructor(figuresOf: (outputs: Outputs, target: Target, row: number) => Figures) {
    this.#figuresOf = figuresOf;
  }

  add(outputs: Outputs, targets: readonly Target[]): void {
    for (const [row, target] of targets.entries()) {
      for (const [name, figure] of Object.entries(this.#figuresOf(outputs, target, row))) {
        const { value, weight } = typeof figure === "number" ? { value: figure, weight: 1 } : figure;
        const before = this.#sums.get(name) ?? { sum: 0, weight: 0 };
        this.#sums.set(name, { sum: before.sum + value * weight, weight: before.weight + weight });
      }
    }
  }

  metrics(): Metrics {
    const figures = Array.from(this.#sums).filter(([, { weight }]) => weight > 0);
    return Object.fromEntries(figures.map(([name, { sum, weight }]) => [name, sum / weight]));
  }
}
