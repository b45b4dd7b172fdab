/** Labels that do not exclude one another: a sigmoid for each. */

import { at } from "../../../base/list.js";
import type { Tensor } from "../../../runtime/tensor.js";
import { binaryCrossEntropy } from "../losses.js";
import { spearman } from "../metrics/spearman.js";
import { type Meter, outputOf, type TaskObjective } from "../types.js";
import { valueFeeds } from "./policy.js";

/** Any number of labels for each row. `labels`: of the head's outputs, in their order. `output`: the model's output of logits. */
export function independentLabels(labels: readonly string[], output: string): TaskObjective<readonly string[]> {
  return {
    outputs: [output],
    loss: (op, outputs) => binaryCrossEntropy(op, outputOf(outputs, output)),
    unit: "labels",
    count: () => labels.length,
    async feeds(targets, rows, weight) {
      const values = targets.map((target) => Float32Array.from(labels, (label) => (target.includes(label) ? 1 : 0)));
      return valueFeeds(values, rows, weight);
    },
    meter: () => new IndependentMeter(labels, output),
  };
}

/** A score from 0 to 1 for each row, such as how well two texts fit, of a head with one output. */
export function gradedScore(output: string): TaskObjective<number> {
  return {
    outputs: [output],
    loss: (op, outputs) => binaryCrossEntropy(op, outputOf(outputs, output)),
    count: () => 1,
    async feeds(targets, rows, weight) {
      return valueFeeds(
        targets.map((target) => Float32Array.of(target)),
        rows,
        weight,
      );
    },
    meter: () => new ScoreMeter(output),
  };
}

/** A label is found where its score is above a half. */
class IndependentMeter implements Meter<readonly string[]> {
  readonly #labels: readonly string[];
  readonly #output: string;
  readonly #counts: { expected: number; found: number; both: number }[];
  #rows = 0;
  #right = 0;

  constructor(labels: readonly string[], output: string) {
    [this.#labels, this.#output] = [labels, output];
    this.#counts = labels.map(() => ({ expected: 0, found: 0, both: 0 }));
  }

  add(outputs: ReadonlyMap<string, Tensor>, targets: readonly (readonly string[])[]): void {
    const { data } = outputOf(outputs, this.#output);
    for (const [row, target] of targets.entries()) {
      let isRight = true;
      for (const [i, label] of this.#labels.entries()) {
        const [expected, found] = [target.includes(label), at(data as Float32Array, row * this.#labels.length + i) > 0];
        const counts = at(this.#counts, i);
        if (expected) counts.expected++;
        if (found) counts.found++;
        if (expected && found) counts.both++;
        isRight &&= expected === found;
      }
      this.#rows++;
      if (isRight) this.#right++;
    }
  }

  /** Accuracy is that of whole rows. F1 is over all labels of all rows, and its mean over labels that were expected or found. */
  metrics() {
    const score = ({ expected, found, both }: { expected: number; found: number; both: number }): number =>
      (2 * both) / Math.max(expected + found, 1);
    const used = this.#counts.filter(({ expected, found }) => expected + found > 0);
    const total = used.reduce(
      (sum, { expected, found, both }) => ({
        expected: sum.expected + expected,
        found: sum.found + found,
        both: sum.both + both,
      }),
      { expected: 0, found: 0, both: 0 },
    );
    return {
      accuracy: this.#right / Math.max(this.#rows, 1),
      micro_f1: score(total),
      macro_f1: used.reduce((sum, counts) => sum + score(counts), 0) / Math.max(used.length, 1),
    };
  }
}

class ScoreMeter implements Meter<number> {
  readonly #output: string;
  readonly #found: number[] = [];
  readonly #scores: number[] = [];

  constructor(output: string) {
    this.#output = output;
  }

  add(outputs: ReadonlyMap<string, Tensor>, targets: readonly number[]): void {
    const { data } = outputOf(outputs, this.#output);
    for (const [row, score] of targets.entries()) {
      this.#found.push(1 / (1 + Math.exp(-at(data as Float32Array, row))));
      this.#scores.push(score);
    }
  }

  metrics() {
    const errors = this.#found.map((found, i) => Math.abs(found - at(this.#scores, i)));
    return {
      mean_absolute_error: errors.reduce((sum, error) => sum + error, 0) / Math.max(errors.length, 1),
      spearman: spearman(this.#found, this.#scores),
    };
  }
}
