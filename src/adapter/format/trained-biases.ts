/** Trained biases of a decoder's linear layers: what each adds to the base's own. */

import { open } from "node:fs/promises";
import { assert } from "../../base/errors.js";
import { float32At } from "../../base/list.js";
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
    modules.set(path, { ...module, shift });
  }
}

const unadapted: HostModule = { rank: 0, dtype: "F32", a: new Float32Array(0), b: new Float32Array(0), scale: 1 };

async function readFloats(stored: StoredWeight): Promise<Float32Array> {
  const { file, dtype, shape } = stored;
  assert(isMatrixDtype(dtype), "a base's biases are floats");
  await using handle = await open(file);
  return widen(dtype, await readBase(handle, stored, dtype, 0, shape[0] ?? 0));
}
