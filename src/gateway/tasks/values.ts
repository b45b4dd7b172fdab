/** The values of tensors, whose 16-bit floats are raw bits. */

import type { TaskTensor } from "../../engine/task/types.js";
import { bfloat16ToFloat32, float16ToFloat32 } from "../../tensor/half.js";

export function valuesOf({ type, data }: TaskTensor): ArrayLike<number | bigint> {
  if (type === "float16") return float16ToFloat32(data as Uint16Array);
  if (type === "bfloat16") return bfloat16ToFloat32(data as Uint16Array);
  return data;
}

export const numbersOf = (tensor: TaskTensor): number[] => Array.from(valuesOf(tensor), Number);
