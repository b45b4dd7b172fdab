/** Policies from recorded transitions: behaviour cloning, action values of DQN, and policy gradients. */

import { at } from "../../../base/list.js";
import { Tensor } from "../../../runtime/tensor.js";
import { lossInputs, squaredError } from "../losses.js";
import { type Meter, outputOf, type TaskObjective } from "../types.js";

/** Imitates continuous actions: the mean squared error of an output [rows, size]. */
export function actionRegression(output: string): TaskObjective<Float32Array> {
  return {
    outputs: [output],
    loss: (op, outputs) => squaredError(op, outputOf(outputs, output)),
    unit: "numbers",
    count: (target) => target.length,
    feeds: async (targets, rows, weight) => valueFeeds(targets, rows, weight),
    meter: () => new ErrorMeter(output),
  };
}

/** Targets of an output [rows, size], each of whose values weighs the same; padding weighs nothing. */
export function valueFeeds(targets: readonly Float32Array[], rows: number, weight: number): Map<string, Tensor> {
  const size = targets[0]?.length ?? 0;
  const values = Tensor.zeros("float32", [rows, size]);
  const weights = Tensor.zeros("float32", [rows, size]);
  for (const [row, target] of targets.entries()) values.data.set(target, row * size);
  weights.data.fill(weight, 0, targets.length * size);
  return new Map([
    [lossInputs.targets, values],
    [lossInputs.targetWeights, weights],
  ]);
}

class ErrorMeter implements Meter<Float32Array> {
  readonly #output: string;
  #sum = 0;
  #count = 0;

  constructor(output: string) {
    this.#output = output;
  }

  add(outputs: ReadonlyMap<string, Tensor>, targets: readonly Float32Array[]): void {
    const { data } = outputOf(outputs, this.#output);
    for (const [row, target] of targets.entries()) {
      for (const [i, value] of target.entries()) {
        this.#sum += Math.abs(value - at(data as Float32Array, row * target.length + i));
        this.#count++;
      }
    }
  }

  metrics() {
    return { mean_absolute_error: this.#sum / Math.max(this.#count, 1) };
  }
}
