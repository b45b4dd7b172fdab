/** Adapters of seeded random numbers, written as PEFT writes them. */
import { writeAdapter } from "../../src/adapter/format.js";
import type { TargetModule } from "../../src/model/blueprint.js";
import { varied } from "./magnitudes.js";

/** Reproducible numbers in [-0.5, 0.5). */
export function noise(seed: number): () => number {
  let state = (seed * 2654435761) >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32 - 0.5;
  };
}

export interface RandomAdapter {
  readonly rank: number;
  readonly seed: number;
  /** Which modules, by the end of their path; all without it. */
  readonly targets?: readonly string[];
  /** How much it changes: about the size of B's numbers. */
  readonly strength?: number;
  /** Weight-decomposed: the lengths of the weights, by path, from which magnitudes are derived. */
  readonly lengths?: ReadonlyMap<string, Float32Array>;
}

export async function writeRandomAdapter(
  folder: string,
  modules: readonly TargetModule[],
  { rank, seed, targets, strength = 0.1, lengths }: RandomAdapter,
): Promise<void> {
  const chosen = modules.filter(({ path }) => !targets || targets.some((target) => path.endsWith(target)));
  const random = noise(seed);
  const numbers = (length: number, size: number) => Float32Array.from({ length }, () => random() * size);
  await writeAdapter(folder, {
    config: {
      r: rank,
      loraAlpha: 2 * rank,
      useDora: lengths !== undefined,
      baseModelName: null,
      targetModules: [...new Set(chosen.map(({ path }) => path.split(".").at(-1) ?? path))].sort(),
    },
    tensors: chosen.map(({ path, inFeatures, outFeatures }) => ({
      path,
      rank,
      inFeatures,
      outFeatures,
      a: numbers(rank * inFeatures, 4 / Math.sqrt(inFeatures)),
      b: numbers(outFeatures * rank, strength),
      ...(lengths ? { magnitude: varied(lengths.get(path), seed) } : {}),
    })),
  });
}
