/** Tensors as bytes after a message: little-endian, row-major, without padding. */

import type { TaskData, TaskTensor, TaskType } from "../../engine/task/types.js";
import { elementCount } from "../../tensor/shape.js";
import { Found } from "../body/parse.js";
import { datatypeOf } from "./tensors.js";

const arrays = {
  float32: Float32Array,
  float64: Float64Array,
  float16: Uint16Array,
  bfloat16: Uint16Array,
  int64: BigInt64Array,
  int32: Int32Array,
  int8: Int8Array,
  uint8: Uint8Array,
  bool: Uint8Array,
} as const satisfies Record<TaskType, new (buffer: ArrayBuffer) => TaskData>;

/** A tensor of all of the bytes; a description of what is wrong otherwise. */
export function tensorOfBytes(type: TaskType, shape: readonly number[], bytes: Uint8Array): TaskTensor | Found {
  const array = arrays[type];
  const size = elementCount(shape) * array.BYTES_PER_ELEMENT;
  if (bytes.byteLength !== size) {
    return new Found(`${bytes.byteLength} bytes of data; ${datatypeOf(type)} [${shape.join(", ")}] takes ${size}`);
  }
  const wrong = type === "bool" ? bytes.findIndex((value) => value > 1) : -1;
  if (wrong >= 0) return new Found(`the byte ${bytes[wrong]} at position ${wrong}; 0 and 1 are BOOL's`);
  // A copy, because elements may begin anywhere in the message.
  return { type, shape, data: new array(Uint8Array.from(bytes).buffer) };
}

export const bytesOfTensor = ({ data }: TaskTensor): Uint8Array =>
  new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
