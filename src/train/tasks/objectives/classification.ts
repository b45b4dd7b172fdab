/** One label for each row: cross-entropy, accuracy and macro F1. */

import { at } from "../../../base/list.js";
import { Tensor } from "../../../runtime/tensor.js";
import { type Assessment, shownAnswers } from "../assessment.js";
import { crossEntropy, lossInputs } from "../losses.js";
import { type Meter, outputOf, type TaskExample, type TaskObjective } from "../types.js";

/** `labels`: of the head's outputs, in their order. `output`: the model's output of logits. */
export function classification(labels: readonly string[], output: string): TaskObjective<string> {
  const indices = new Map(labels.map((label, index) => [label, index]));
  return {
    outputs: [output],
    loss: (op, outputs) => crossEntropy(op, outputOf(outputs, output)),
    count: () => 1,
    async feeds(targets, rows, weight) {
      return labelFeeds(
        targets.map((label) => indices.get(label) ?? 0),
        rows,
        weight,
      );
    },
    meter: () => new LabelMeter(indices, output),
  };
}

/** Shows the likeliest label of some rows. */
export function shownLabels(
  labels: readonly string[],
  output: string,
  describe: (example: TaskExample) => string,
): Assessment {
  return shownAnswers({
    describe,
    answer(outputs, row) {
      const { data, shape } = outputOf(outputs, output);
      const width = Number(shape.at(-1));
      return labels[likeliest(data.subarray(row * width, (row + 1) * width) as Float32Array)] ?? "";
    },
  });
}

/** One label for each row; padding weighs nothing. `weight`: of each label, or of all. */
export function labelFeeds(
  labels: readonly number[],
  rows: number,
  weight: number | readonly number[],
): Map<string, Tensor> {
  const places = new BigInt64Array(rows);
  const weights = new Float32Array(rows);
  for (const [row, label] of labels.entries()) {
    places[row] = BigInt(label);
    weights[row] = typeof weight === "number" ? weight : at(weight, row);
  }
  return new Map<string, Tensor>([
    [lossInputs.labels, Tensor.from("int64", [rows, 1], places)],
    [lossInputs.weights, Tensor.from("float32", [rows, 1], weights)],
  ]);
}

class LabelMeter implements Meter<string> {
  readonly #indices: ReadonlyMap<string, number>;
  readonly #output: string;
  readonly #scores: LabelScores;

  constructor(indices: ReadonlyMap<string, number>, output: string) {
    this.#indices = indices;
    this.#output = output;
    this.#scores = new LabelScores(indices.size);
  }

  add(outputs: ReadonlyMap<string, Tensor>, targets: readonly string[]): void {
    const { data, shape } = outputOf(outputs, this.#output);
    const width = Number(shape.at(-1));
    for (const [row, target] of targets.entries()) {
      const scores = data.subarray(row * width, (row + 1) * width) as Float32Array;
      this.#scores.add(this.#indices.get(target) ?? -1, likeliest(scores));
    }
  }

  metrics() {
    return this.#scores.metrics();
  }
}

/** The index of the largest value; the first of equal ones. */
export function likeliest(scores: Float32Array): number {
  let best = 0;
  for (let i = 1; i < scores.length; i++) if (at(scores, i) > at(scores, best)) best = i;
  return best;
}

/** Counts right and wrong labels. */
export class LabelScores {
  readonly #expected: number[];
  readonly #found: number[];
  readonly #right: number[];

  constructor(labels: number) {
    const zeros = (): number[] => Array.from({ length: labels }, () => 0);
    [this.#expected, this.#found, this.#right] = [zeros(), zeros(), zeros()];
  }

  add(expected: number, found: number): void {
    this.#expected[expected] = (this.#expected[expected] ?? 0) + 1;
    this.#found[found] = (this.#found[found] ?? 0) + 1;
    if (expected === found) this.#right[found] = (this.#right[found] ?? 0) + 1;
  }

  /** Macro F1 is the mean over labels that were expected or found, as scikit-learn's is. */
  metrics(): { accuracy: number; macro_f1: number } {
    const sum = (counts: readonly number[]): number => counts.reduce((a, b) => a + b, 0);
    const scores = this.#expected.flatMap((expected, label) => {
      const both = expected + at(this.#found, label);
      return both === 0 ? [] : [(2 * at(this.#right, label)) / both];
    });
    return {
      accuracy: sum(this.#right) / Math.max(sum(this.#expected), 1),
      macro_f1: sum(scores) / Math.max(scores.length, 1),
    };
  }
}
