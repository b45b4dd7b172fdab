/** Reads the numbers of a graph's weights, widened to float32. */

import { open } from "node:fs/promises";
import { LorikeetError } from "../../base/errors.js";
import type { Initializer } from "../../graph/types.js";
import { type DtypeArray, viewAs } from "../../tensor/dtype.js";
import { bfloat16ToFloat32, float16ToFloat32 } from "../../tensor/half.js";

function shortened(tensor: string): LorikeetError {
  return new LorikeetError("model_invalid", `The external data of tensor ${tensor} became shorter while it was read.`);
}

const stored = { float32: "F32", float16: "F16", bfloat16: "BF16" } as const;

/** The elements of a float initializer, row-major. Throws `model_invalid` if its file has become shorter. */
export async function floatsOf({ value, data }: Initializer): Promise<Float32Array> {
  const dtype = stored[value.type as keyof typeof stored];
  if (data.kind === "inline") {
    // A file's tensors lie at any offset.
    const isAligned = data.bytes.byteOffset % 4 === 0;
    return widened(dtype, isAligned ? data.bytes : Uint8Array.from(data.bytes));
  }
  const bytes = new Uint8Array(data.byteLength);
  await using handle = await open(data.file);
  for (let done = 0; done < bytes.length; ) {
    const { bytesRead } = await handle.read(bytes, done, Math.min(bytes.length - done, 1 << 28), data.offset + done);
    if (bytesRead === 0) throw shortened(value.name);
    done += bytesRead;
  }
  return widened(dtype, bytes);
}

export function widened(dtype: "F32" | "F16" | "BF16", bytes: Uint8Array): Float32Array {
  const elements: DtypeArray["F32" | "F16" | "BF16"] = viewAs(dtype, bytes);
  if (elements instanceof Float32Array) return elements;
  return dtype === "F16" ? float16ToFloat32(elements) : bfloat16ToFloat32(elements);
}
