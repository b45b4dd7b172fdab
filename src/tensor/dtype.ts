/** The number formats of tensors on disk: their sizes and the typed arrays that view them. */

import { assert } from "../base/errors.js";

/** Bytes of one element. */
export const dtypeSizes = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U8: 1,
  BOOL: 1,
} as const;

export type Dtype = keyof typeof dtypeSizes;

export const dtypes: readonly Dtype[] = ["F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL"];

const known: ReadonlySet<string> = new Set(dtypes);

/** Whether a value names a dtype that this package reads. */
export function isDtype(value: unknown): value is Dtype {
  return typeof value === "string" && known.has(value);
}

/** The typed array for each dtype; F16 and BF16 are raw bits. */
export interface DtypeArray {
  F64: Float64Array;
  F32: Float32Array;
  F16: Uint16Array;
  BF16: Uint16Array;
  I64: BigInt64Array;
  I32: Int32Array;
  I16: Int16Array;
  I8: Int8Array;
  U8: Uint8Array;
  BOOL: Uint8Array;
}

const constructors = {
  F64: Float64Array,
  F32: Float32Array,
  F16: Uint16Array,
  BF16: Uint16Array,
  I64: BigInt64Array,
  I32: Int32Array,
  I16: Int16Array,
  I8: Int8Array,
  U8: Uint8Array,
  BOOL: Uint8Array,
};

/**
 * Views bytes as elements, without a copy. Throws `internal` unless they start at a multiple of the element's size and
 * hold whole elements.
 */
export function viewAs<D extends Dtype>(dtype: D, bytes: Uint8Array): DtypeArray[D] {
  const size = dtypeSizes[dtype];
  assert(
    bytes.byteOffset % size === 0 && bytes.byteLength % size === 0,
    `${bytes.byteLength} bytes at offset ${bytes.byteOffset} are not whole, aligned ${dtype} elements`,
  );
  return new constructors[dtype](
    bytes.buffer as ArrayBuffer,
    bytes.byteOffset,
    bytes.byteLength / size,
  ) as unknown as DtypeArray[D];
}

/** The bytes of a typed array, without a copy. */
export function bytesOf(view: ArrayBufferView): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}
