/**
 * Which batch normalization of a checkpoint was folded into which layer of the ONNX file, found from numbers: with s = scale /
 * sqrt(variance + epsilon), the file's weight is s times the checkpoint's, and its bias is the normalization's own minus s * mean.
 */

import type { StoredNorm, StoredVector } from "./content.js";
import type { TaskModule } from "./target-modules.js";
import { floatsOf } from "./weight-values.js";

/** A layer of the file that a normalization may have been folded into. */
export interface FoldableLayer {
  readonly module: TaskModule;
  /** Of each output, as measured. */
  readonly factors: Float32Array;
  /** In the ONNX file. */
  readonly bias: Float32Array;
  /** The layer's own bias in the checkpoint; null: it has none. */
  readonly storedBias: Float32Array | null;
}

export interface FoldedPair {
  readonly norm: StoredNorm;
  readonly into: TaskModule;
}

/** Reads the biases of the layers whose factors are known. */
export async function foldableLayers(
  modules: readonly TaskModule[],
  biases: ReadonlyMap<string, StoredVector>,
): Promise<FoldableLayer[]> {
  const layers: FoldableLayer[] = [];
  for (const module of modules) {
    const { kind, uses, foldedNorm, outFeatures, names } = module;
    const target = uses[0]?.target;
    const mayBe = kind === "convolution" ? target?.mayBeFolded : kind === "linear" && foldedNorm.kind === "measured";
    if (!mayBe || !target?.bias || foldedNorm.kind === "unknown") continue;
    const factors = foldedNorm.kind === "measured" ? foldedNorm.factors : new Float32Array(outFeatures).fill(1);
    const stored = names.find(({ by }) => by === "content");
    const storedBias = (stored && biases.get(stored.path)?.values) ?? null;
    layers.push({ module, factors, bias: await floatsOf(target.bias.values), storedBias });
  }
  return layers;
}

/** The pairs of which neither fits another, or whose names alone have the same parent. */
export function pairNorms(norms: readonly StoredNorm[], layers: readonly FoldableLayer[]): FoldedPair[] {
  const pairs = norms.flatMap((norm) =>
    layers.flatMap((layer): FoldedPair[] => (isFoldedInto(norm, layer) ? [{ norm, into: layer.module }] : [])),
  );
  const isOnly = (all: readonly FoldedPair[], { norm, into }: FoldedPair): boolean =>
    all.every((other) => (other.norm === norm) === (other.into === into));
  const siblings = pairs.filter(({ norm, into }) => parentOf(norm.path) === parentOf(into.path));
  return pairs.filter((pair) => isOnly(pairs, pair) || (siblings.includes(pair) && isOnly(siblings, pair)));
}

const parentOf = (path: string): string => path.slice(0, path.lastIndexOf(".") + 1);

/** Checkpoints do not hold epsilon: the usual ones. */
const epsilons = [1e-5, 1e-3, 1e-6, 1e-4, 1e-8, 1e-12, 0];
/** Relative: float32's rounding of a folded product. */
const tolerance = 1e-4;
const leastSize = 1e-6;

function isFoldedInto(
  { values, scale, mean, variance }: StoredNorm,
  { factors, bias, storedBias }: Omit<FoldableLayer, "module">,
): boolean {
  if (factors.length !== values.length || bias.length !== values.length) return false;
  const isScaled = (epsilon: number): boolean =>
    factors.every((factor, i) => isNear(factor, at(scale, i) / Math.sqrt(at(variance, i) + epsilon), leastSize));
  const isShifted = bias.every((found, i) => {
    const shift = at(mean, i) - (storedBias ? at(storedBias, i) : 0);
    // The expected sum may be small though its terms are not.
    const size = Math.abs(at(values, i)) + Math.abs(at(mean, i)) + leastSize;
    return isNear(found, at(values, i) - at(factors, i) * shift, size);
  });
  return isShifted && epsilons.some(isScaled);
}

/** `size`: of the numbers whose rounding counts, where the expected one is smaller. */
const isNear = (found: number, expected: number, size: number): boolean =>
  Math.abs(found - expected) <= tolerance * Math.max(size, Math.abs(expected));

const at = (values: Float32Array, i: number): number => values[i] as number;
