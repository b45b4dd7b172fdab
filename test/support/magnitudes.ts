/** Magnitudes for DoRA adapters of random numbers. */

import type { TargetModule } from "../../src/model/blueprint.js";
import type { Checkpoint } from "../../src/model/types.js";
import { WeightNorms } from "../../src/weights/norms.js";
import { gaussian } from "./synthetic-weights.js";

/** The length of each output's weights, by module path. */
export async function weightLengths(
  checkpoint: Checkpoint,
  modules: readonly TargetModule[],
): Promise<ReadonlyMap<string, Float32Array>> {
  await using norms = new WeightNorms(checkpoint, { threads: 1 });
  const lengths = new Map<string, Float32Array>();
  for (const { path, inFeatures, outFeatures } of modules) {
    const nothing = { rank: 1, scale: 1, a: new Float32Array(inFeatures), b: new Float32Array(outFeatures) };
    lengths.set(path, await norms.of({ path, ...nothing }));
  }
  return lengths;
}

/** About a fifth away from these, the same for the same seed. */
export function varied(lengths: Float32Array | undefined, seed: number): Float32Array {
  const noise = gaussian(seed, lengths?.length ?? 0, 0.2);
  return noise.map((value, i) => (lengths?.[i] ?? 0) * (1 + value));
}
