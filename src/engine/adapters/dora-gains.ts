/**
 * Prepares a weight-decomposed (DoRA) adapter for the bank: y = W x + (g - 1) W x + g s B A x with g = m / |W + s B A| for each output
 * (PEFT's form of arXiv:2402.09353). g goes into B, and g - 1 takes the place of the magnitudes: what is kept belongs to this
 * base. An adapter without magnitudes is returned unchanged.
 */

import type { HostAdapter, HostModule } from "../../adapter/types.js";
import { assert, LorikeetError } from "../../base/errors.js";
import { float32At } from "../../base/list.js";
import type { WeightNorms } from "../../weights/norms.js";

/** Overwrites the adapter's memory. Throws `adapter_invalid` where an output's gain is not finite, as over weights of zero. */
export async function foldMagnitudes(
  adapter: HostAdapter,
  norms: Pick<WeightNorms, "of">,
  label = "The adapter",
): Promise<HostAdapter> {
  if (!adapter.hasGains) return adapter;
  const modules = new Map<string, HostModule>();
  for (const [path, module] of adapter.modules) {
    modules.set(path, module.magnitude ? await fold(path, module, norms, label) : module);
  }
  return { ...adapter, modules };
}

async function fold(
  path: string,
  module: HostModule,
  norms: Pick<WeightNorms, "of">,
  label: string,
): Promise<HostModule> {
  const { magnitude, a, b, rank, dtype, scale, shift } = module;
  assert(magnitude && a instanceof Float32Array && b instanceof Float32Array, `${path} has magnitudes, in float32`);
  const lengths = await norms.of({ path, rank, scale, a, b });
  const outputs = magnitude.length;
  const gains = magnitude.map((length, i) => length / float32At(lengths, i));
  const bad = gains.findIndex((gain, i) => !Number.isFinite(gain) || !Number.isFinite(float32At(lengths, i)));
  if (bad >= 0) throw noGain(label, path, bad, float32At(magnitude, bad), float32At(lengths, bad));
  for (let row = 0; row < b.length; row += outputs) {
    for (let i = 0; i < outputs; i++) b[row + i] = float32At(b, row + i) * scale * float32At(gains, i);
  }
  return { rank, dtype, scale: 1, a, b, gain: gains.map((gain) => gain - 1), ...(shift && { shift }) };
}

function noGain(label: string, path: string, output: number, magnitude: number, length: number): LorikeetError {
  return new LorikeetError(
    "adapter_invalid",
    `${label} cannot be served: output ${output} of ${path} has the magnitude ${magnitude} over weights of length ${length}.`,
    { param: path, found: length, allowed: "a finite length above zero" },
  );
}
