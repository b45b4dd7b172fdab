/** The values of tensors, whose 16-bit floats are raw bits. */

import { LorikeetError } from "../../base/errors.js";
import type { TaskTensor } from "../../engine/task/types.js";
import { bfloat16ToFloat32, float16ToFloat32 } from "../../tensor/half.js";

export function valuesOf({ type, data }: TaskTensor): ArrayLike<number | bigint> {
  if (type === "float16") return float16ToFloat32(data as Uint16Array);
  if (type === "bfloat16") return bfloat16ToFloat32(data as Uint16Array);
  return data;
}

/** Something in the model overflowed: there is nothing to answer with. */
export class NotNumbers extends LorikeetError {
  constructor(found: number, wanted: string) {
    super("runtime_failed", `The model computed ${found} in place of ${wanted}.`, { found, allowed: wanted });
  }
}

/** The values. Throws `NotNumbers`; -Infinity is a logit that rules its label out. */
export function checkedLogits<T extends readonly number[] | Float64Array | Float32Array>(logits: T): T {
  for (const value of logits) if (!(value < Number.POSITIVE_INFINITY)) throw new NotNumbers(value, "logits");
  return logits;
}

/** The values. Throws `NotNumbers`. */
export function checkedVector<T extends readonly number[] | Float32Array>(vector: T): T {
  for (const value of vector) if (!Number.isFinite(value)) throw new NotNumbers(value, "a vector's values");
  return vector;
}

export const numbersOf = (tensor: TaskTensor): number[] => Array.from(valuesOf(tensor), Number);

/** Vectors one after another as little-endian float32, as numpy writes them. */
export function base64Of(vectors: readonly Float32Array[]): string {
  const bytes = Buffer.alloc(4 * vectors.reduce((sum, { length }) => sum + length, 0));
  let offset = 0;
  for (const vector of vectors) for (const value of vector) offset = bytes.writeFloatLE(value, offset);
  return bytes.toString("base64");
}
