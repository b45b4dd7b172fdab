/** The tokens of a target, each given those before it: cross-entropy. */

import { Tensor } from "../../../runtime/tensor.js";
import { crossEntropy, lossInputs } from "../losses.js";
import { type Meter, outputOf, type TaskObjective } from "../types.js";
import { likeliest } from "./classification.js";

const output = "logits";

export function translation(): TaskObjective<readonly number[]> {
  return {
    outputs: [output],
    loss: (op, outputs) => crossEntropy(op, outputOf(outputs, output)),
    unit: "tokens",
    count: (ids) => ids.length,
    async feeds(targets, rows, weight, { inputs }) {
      const length = outputOf(inputs, "decoder_input_ids").shape[1] ?? 1;
      const labels = new BigInt64Array(rows * length);
      const weights = new Float32Array(rows * length);
      for (const [row, ids] of targets.entries()) {
        labels.set(ids.map(BigInt), row * length);
        weights.fill(weight, row * length, row * length + ids.length);
      }
      return new Map<string, Tensor>([
        [lossInputs.labels, Tensor.from("int64", [rows * length, 1], labels)],
        [lossInputs.weights, Tensor.from("float32", [rows * length, 1], weights)],
      ]);
    },
    meter: () => new TokenMeter(),
  };
}

/**
 * How many tokens are the likeliest, and how many targets are so as a whole. Those are the targets that greedy decoding gives: it follows
 * a target as long as its next token is the likeliest.
 */
class TokenMeter implements Meter<readonly number[]> {
  #tokens = 0;
  #right = 0;
  #rows = 0;
  #exact = 0;

  add(outputs: ReadonlyMap<string, Tensor>, targets: readonly (readonly number[])[]): void {
    const { data, shape } = outputOf(outputs, output);
    const [, length = 1, width = 1] = shape;
    for (const [row, ids] of targets.entries()) {
      let right = 0;
      for (const [i, id] of ids.entries()) {
        const begin = (row * length + i) * width;
        if (likeliest((data as Float32Array).subarray(begin, begin + width)) === id) right++;
      }
      this.#tokens += ids.length;
      this.#right += right;
      this.#rows++;
      if (right === ids.length) this.#exact++;
    }
  }

  metrics() {
    return { accuracy: this.#right / Math.max(this.#tokens, 1), exact: this.#exact / Math.max(this.#rows, 1) };
  }
}
