/** The values of tensors, whose 16-bit floats are raw bits. */

import type { TaskTensor } from "../../engine/task/types.js";
import { bfloat16ToFloat32, float16ToFloat32 } from "../../tensor/half.js";

export function valuesOf({ type, data }: TaskTensor): ArrayLike<number | bigint> {
  if (type === "float16") return float16ToFloat32(data as Uint16Array);
  if (type === "bfloat16") return bfloat16ToFloat32(data as Uint16Array);
  return data;
}

export const numbersOf = (tensor: TaskTensor): number[] => Array.from(valuesOf(tensor), Number);

/** Vectors one after another as little-endian float32, as numpy writes them. */
export function base64Of(vectors: readonly Float32Array[]): string {
  const bytes = Buffer.alloc(4 * vectors.reduce((sum, { length }) => sum + length, 0));
  let offset = 0;
  for (const vector of vectors) for (const value of vector) offset = bytes.writeFloatLE(value, offset);
  return bytes.toString("base64");
}
