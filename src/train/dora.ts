/** Weight-decomposed adapters (DoRA, arXiv:2402.09353): W' = m / |W + s B A| · (W + s B A), by output. */

import { LorikeetError } from "../base/errors.js";
import { float32At, float64At } from "../base/list.js";
import type { TrainStep } from "./step.js";

/** |w| of each output, for a weight [out, in], or [in, out] if transposed. Summed in float64. */
function outputNorms(weight: Float32Array, outputs: number, transposed: boolean): Float32Array {
  const sums = new Float64Array(outputs);
  const inputs = weight.length / outputs;
  for (let i = 0; i < weight.length; i++) {
    const output = transposed ? i % outputs : Math.floor(i / inputs);
    sums[output] = float64At(sums, output) + float32At(weight, i) ** 2;
  }
  return Float32Array.from(sums, Math.sqrt);
}

/** Scales each output's weights to the length of its magnitude, in place. Throws `adapter_invalid` for weights of length 0. */
export function rescale(weight: Float32Array, magnitude: Float32Array, transposed: boolean): void {
  const norms = outputNorms(weight, magnitude.length, transposed);
  const empty = norms.indexOf(0);
  if (empty >= 0) {
    throw new LorikeetError(
      "adapter_invalid",
      `The weights of output ${empty} have length 0, which no magnitude can scale.`,
    );
  }
  const inputs = weight.length / magnitude.length;
  for (let i = 0; i < weight.length; i++) {
    const output = transposed ? i % magnitude.length : Math.floor(i / inputs);
    weight[i] = (float32At(weight, i) * float32At(magnitude, output)) / float32At(norms, output);
  }
}

/** Initial magnitudes: the adapter equals LoRA with the same A and B, or the base model if B = 0. */
export async function startMagnitudes(step: Pick<TrainStep, "parameters" | "lengths">): Promise<void> {
  const lengths = await step.lengths();
  for (const { name, data } of step.parameters) {
    const length = lengths.get(name);
    if (length) data.set(length); // a parameter without is A or B
  }
}
