/** Weight-decomposed adapters (DoRA, arXiv:2402.09353): W' = m / |W + s B A| · (W + s B A), by output. What concerns the base's weights. */
import { assert, LorikeetError } from "../base/errors.js";
import { readSegment, toFloat32 } from "../model/convert-task.js";
import { isTransposed } from "../model/sites.js";
import { siteInputs } from "../model/training-types.js";
import type { Checkpoint } from "../model/types.js";
import type { LoraSite } from "./lora.js";
import { addProduct } from "./low-rank.js";
import type { Parameter } from "./step.js";

/** |w| of each of `outputs`, over a weight [out, in], or [in, out] when it is transposed. Summed in float64. */
export function outputNorms(weight: Float32Array, outputs: number, transposed: boolean): Float32Array {
  const sums = new Float64Array(outputs);
  const inputs = weight.length / outputs;
  for (let i = 0; i < weight.length; i++) {
    const output = transposed ? i % outputs : Math.floor(i / inputs);
    sums[output] = (sums[output] ?? 0) + (weight[i] ?? 0) ** 2;
  }
  return Float32Array.from(sums, Math.sqrt);
}

/** Gives each output's weights the length of its magnitude, in place. Throws `adapter_invalid` where they have none. */
export function rescale(weight: Float32Array, magnitude: Float32Array, transposed: boolean): void {
  const norms = outputNorms(weight, magnitude.length, transposed);
  const empty = norms.indexOf(0);
  if (empty >= 0) {
    throw new LorikeetError(
      "adapter_invalid",
      `The weights of output ${empty} have length 0: no magnitude scales them.`,
    );
  }
  const inputs = weight.length / magnitude.length;
  for (let i = 0; i < weight.length; i++) {
    const output = transposed ? i % magnitude.length : Math.floor(i / inputs);
    weight[i] = ((weight[i] ?? 0) * (magnitude[output] ?? 0)) / (norms[output] ?? 1);
  }
}

/** Magnitudes at which the adapter computes what LoRA with the same A and B does; with B = 0 what the base does. */
export function startMagnitudes(
  { config, tensors }: Checkpoint,
  sites: readonly LoraSite[],
  parameters: readonly Parameter[],
): void {
  const data = new Map(parameters.map((parameter) => [parameter.name, parameter.data]));
  for (const { path, rank, scale, outFeatures } of sites) {
    const names = siteInputs(path);
    const location = tensors.get(`${path}.weight`);
    const [a, b, magnitude] = [data.get(names.a), data.get(names.b), data.get(names.magnitude)];
    assert(location && a && b && magnitude, `${path} is trained with a magnitude`);
    const weight = toFloat32(location.dtype, readSegment(location)).slice();
    const transposed = isTransposed(config, path);
    if (b.some((value) => value !== 0)) addProduct(weight, { rank, scale, dtype: "F32", a, b }, transposed);
    magnitude.set(outputNorms(weight, outFeatures, transposed));
  }
}
