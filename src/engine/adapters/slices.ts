/** How adapters are copied into memory that steps read: in slices, so that the event loop stays free. */
import type { HostModule } from "../../adapter/types.js";
import { LorikeetError } from "../../base/errors.js";
import { float32At } from "../../base/list.js";
import { bfloat16ToFloat32, float16ToFloat32, float32ToFloat16 } from "../../tensor/half.js";

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

/** Rounds to float16. An infinite number times the zero of another adapter's row would not be zero: throws `adapter_invalid`. */
export function narrowInto(target: Uint16Array<ArrayBuffer>, values: Float32Array): void {
  float32ToFloat16(values, target);
  // A loop: `findIndex` calls back for every number, which takes several times as long as the rounding.
  let place = 0;
  while (place < target.length && ((target[place] as number) & 0x7fff) < infinite) place++;
  if (place === target.length) return;
  const found = float32At(values, place);
  const message = `The adapter multiplies by ${found}, and fp16 holds no number above 65504: serve it with --activation-dtype fp32.`;
  throw new LorikeetError("adapter_invalid", message, { found, allowed: 65_504 });
}

/** In float16, without its sign. */
const infinite = 0x7c00;

/** Yields to the event loop after some milliseconds of copying. */
export function pauser(): () => Promise<void> {
  let since = performance.now();
  return async () => {
    if (performance.now() - since < 5) return;
    await new Promise((resolve) => setImmediate(resolve));
    since = performance.now();
  };
}
