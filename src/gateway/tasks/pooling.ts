/** One vector from the vectors of a text's tokens. */

import type { TaskTensor } from "../../engine/task/types.js";
import { valuesOf } from "./values.js";

export type PoolingMode = "mean" | "cls" | "max" | "last";

/** `hidden`: [1, length, size]. `mask`: 1 for tokens, 0 for padding; without one, every place is a token. */
export function pool(hidden: TaskTensor, mask: TaskTensor | undefined, mode: PoolingMode): Float32Array {
  const size = hidden.shape[2] ?? 0;
  const vectors = unpadded(hidden, mask);
  if (mode === "cls") return vectors[0] ?? new Float32Array(size);
  if (mode === "last") return vectors.at(-1) ?? new Float32Array(size);
  const sums = new Float64Array(size).fill(mode === "max" ? Number.NEGATIVE_INFINITY : 0);
  for (const vector of vectors) {
    for (let i = 0; i < size; i++) {
      const value = vector[i] as number;
      sums[i] = mode === "max" ? Math.max(sums[i] as number, value) : (sums[i] as number) + value;
    }
  }
  return Float32Array.from(sums, (value) => (mode === "max" ? value : value / Math.max(1, vectors.length)));
}

/** The vectors of a text's tokens without padding. `hidden` and `mask` as in `pool`. */
export function unpadded(hidden: TaskTensor, mask: TaskTensor | undefined): Float32Array[] {
  const [, length = 0, size = 0] = hidden.shape;
  const values = Float32Array.from(valuesOf(hidden), Number);
  return Array.from({ length }, (_, place) => place)
    .filter((place) => !mask || Number(mask.data[place]) !== 0)
    .map((place) => values.slice(place * size, (place + 1) * size));
}
