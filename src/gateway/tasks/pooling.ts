/** One vector from the vectors of a text's tokens. */

import { Pooler, type PoolingMode } from "../../engine/pooler.js";
import type { TaskTensor } from "../../engine/task/types.js";
import { valuesOf } from "./values.js";

/** `hidden`: [1, length, size]. `mask`: 1 for tokens, 0 for padding; without one, every place is a token. */
export function pool(
  hidden: TaskTensor,
  mask: TaskTensor | undefined,
  modes: readonly PoolingMode[],
): Float32Array<ArrayBuffer> {
  const size = hidden.shape[2] ?? 0;
  const vectors = unpadded(hidden, mask);
  if (vectors.length === 0) return new Float32Array(size * modes.length);
  const pooler = new Pooler({ modes, place: 0 }, vectors.length);
  for (const [place, vector] of vectors.entries()) pooler.add(place, 1, vector);
  return pooler.finish().vector;
}

/** The vectors of a text's tokens without padding. `hidden` and `mask` as in `pool`. */
export function unpadded(hidden: TaskTensor, mask: TaskTensor | undefined): Float32Array[] {
  const [, length = 0, size = 0] = hidden.shape;
  const values = Float32Array.from(valuesOf(hidden), Number);
  return Array.from({ length }, (_, place) => place)
    .filter((place) => !mask || Number(mask.data[place]) !== 0)
    .map((place) => values.slice(place * size, (place + 1) * size));
}
