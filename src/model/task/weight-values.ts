/** Reads the numbers of a graph's weights, widened to float32. */

import { open } from "node:fs/promises";
import { assert, LorikeetError } from "../../base/errors.js";
import { sameShape } from "../../graph/shape.js";
import type { Initializer } from "../../graph/types.js";
import { type DtypeArray, viewAs } from "../../tensor/dtype.js";
import { bfloat16ToFloat32, float16ToFloat32 } from "../../tensor/half.js";
import type { StoredWeight } from "../blueprint.js";

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
  return widened(dtype, await readBytes(data, () => shortened(value.name)));
}

/** Whether two weights are the same numbers in the same order, wherever they are stored. Throws what `floatsOf` throws. */
export async function hasSameValues(a: Initializer, b: Initializer): Promise<boolean> {
  if (a === b) return true;
  if (a.value.type !== b.value.type || !sameShape(a.value.shape, b.value.shape)) return false;
  const [own, other] = [await floatsOf(a), await floatsOf(b)];
  return own.every((value, i) => value === other[i]);
}

/** The elements of a checkpoint's float tensor. Throws `model_invalid` if its file has become shorter. */
export async function storedFloats(place: StoredWeight): Promise<Float32Array> {
  const { dtype } = place;
  assert(dtype === "F32" || dtype === "F16" || dtype === "BF16", "the tensor is known to hold floats");
  const fault = (): LorikeetError =>
    new LorikeetError("model_invalid", `The checkpoint ${place.file} became shorter while it was read.`);
  return widened(dtype, await readBytes(place, fault));
}

async function readBytes(
  { file, offset, byteLength }: Pick<StoredWeight, "file" | "offset" | "byteLength">,
  fault: () => LorikeetError,
): Promise<Uint8Array> {
  const bytes = new Uint8Array(byteLength);
  await using handle = await open(file);
  for (let done = 0; done < bytes.length; ) {
    const { bytesRead } = await handle.read(bytes, done, Math.min(bytes.length - done, 1 << 28), offset + done);
    if (bytesRead === 0) throw fault();
    done += bytesRead;
  }
  return bytes;
}

export function widened(dtype: "F32" | "F16" | "BF16", bytes: Uint8Array): Float32Array {
  const elements: DtypeArray["F32" | "F16" | "BF16"] = viewAs(dtype, bytes);
  if (elements instanceof Float32Array) return elements;
  return dtype === "F16" ? float16ToFloat32(elements) : bfloat16ToFloat32(elements);
}
