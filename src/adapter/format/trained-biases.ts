/**
 * Trained biases of a decoder's linear layers and normalizations, and factors of normalizations that are saved whole: how each differs from
 * the base's own. A normalization by other factors is the base's, less its bias, times their quotient, plus a bias.
 */

import { open } from "node:fs/promises";
import { assert, LorikeetError } from "../../base/errors.js";
import { at, float32At } from "../../base/list.js";
import type { BaseModule, StoredWeight } from "../../model/blueprint.js";
import type { HostModule } from "../types.js";
import { readBase } from "./copies.js";
import { isMatrixDtype, widen } from "./layout.js";

/** Adds to each module's shift how its bias differs from the base's. A layer without a product gets a module of rank 0. */
export async function shiftBiases(
  modules: Map<string, HostModule>,
  trained: ReadonlyMap<string, Float32Array>,
  base: readonly BaseModule[],
): Promise<void> {
  for (const { path, role, storedBias } of base) {
    const bias = trained.get(path);
    if (!bias || role === "fixed") continue; // which equals the base's
    assert(storedBias, "a checked bias has its place in the base");
    const own = await readFloats(storedBias);
    const module = modules.get(path) ?? unadapted;
    const shift = bias.map((value, i) => value - float32At(own, i) + (module.shift?.[i] ?? 0));
    if (role === "norm" && isZero(shift)) continue;
    modules.set(path, { ...module, shift });
  }
}

/** A normalization that an adapter replaces. */
export interface TrainedNorm {
  readonly weight: Float32Array;
  readonly bias: Float32Array | null;
}

/** Adds a module of rank 0 for each. Throws `adapter_invalid` where the base multiplies by zero, so that nothing of the input is left. */
export async function replaceNorms(
  modules: Map<string, HostModule>,
  trained: ReadonlyMap<string, TrainedNorm>,
  base: readonly BaseModule[],
): Promise<void> {
  for (const { path, stored, storedBias, offset = 0 } of base) {
    const norm = trained.get(path);
    if (!norm) continue;
    assert(stored, "a checked normalization has its place in the base");
    const own = await readFloats(stored);
    const gain = norm.weight.map((value, i) => (value + offset) / (at(own, i) + offset) - 1);
    const lost = gain.findIndex((value) => !Number.isFinite(value));
    if (lost >= 0) {
      throw new LorikeetError(
        "adapter_invalid",
        `The adapter cannot be served: the base multiplies output ${lost} of ${path} by ${at(own, lost) + offset}, and the adapter by ${at(norm.weight, lost) + offset}.`,
        { param: path },
      );
    }
    const ownBias = norm.bias && storedBias && (await readFloats(storedBias));
    const shift = norm.bias?.map((value, i) => value - (ownBias ? float32At(ownBias, i) : 0));
    if (isZero(gain) && (!shift || isZero(shift))) continue;
    modules.set(path, { ...unadapted, gain, ...(shift && { shift }) });
  }
}

/** PEFT saves the biases of all norms, trained or not: those that equal the base's take no memory and no time. */
const isZero = (values: Float32Array): boolean => values.every((value) => value === 0);

const unadapted: HostModule = { rank: 0, dtype: "F32", a: new Float32Array(0), b: new Float32Array(0), scale: 1 };

async function readFloats(stored: StoredWeight): Promise<Float32Array> {
  const { file, dtype, shape } = stored;
  assert(isMatrixDtype(dtype), "a base's biases are floats");
  await using handle = await open(file);
  return widen(dtype, await readBase(handle, stored, dtype, 0, shape[0] ?? 0));
}
