/** How adapters are copied into memory that steps read: in slices, so that the event loop stays free. */
import type { HostModule } from "../../adapter/types.js";
import { bfloat16ToFloat32, float16ToFloat32 } from "../../tensor/half.js";

/** Numbers that are copied between two pauses: about a millisecond. */
export const sliceElements = 1 << 16;

/** fp32 values [first, end) of one module; 16-bit ones are widened (exactly). */
export function widen(
  module: HostModule,
  values: Float32Array | Uint16Array,
  first: number,
  end: number,
): Float32Array {
  if (values instanceof Float32Array) return values.subarray(first, end);
  const slice = values.subarray(first, end);
  return module.dtype === "F16" ? float16ToFloat32(slice) : bfloat16ToFloat32(slice);
}

/** Yields to the event loop after some milliseconds of copying. */
export function pauser(): () => Promise<void> {
  let since = performance.now();
  return async () => {
    if (performance.now() - since < 5) return;
    await new Promise((resolve) => setImmediate(resolve));
    since = performance.now();
  };
}
