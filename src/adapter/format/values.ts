/** Looks at the numbers of a tensor without converting them: is one not finite, are all zero, how large is the largest. */

import { viewAs } from "../../tensor/dtype.js";
import { bfloat16ToFloat32, float16ToFloat32 } from "../../tensor/half.js";
import type { MatrixDtype } from "./modules.js";

export interface ValueSummary {
  readonly finite: boolean;
  readonly zero: boolean;
  /** Largest magnitude; not a number to compute with when not finite. */
  readonly largest: number;
}

/** Magnitudes order like their bits without the sign, so one integer maximum tells everything. */
export function summarizeValues(dtype: MatrixDtype, bytes: Uint8Array): ValueSummary {
  let most: number;
  let largest: number;
  let infinity: number;
  if (dtype === "F32") {
    most = largestBits(new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4), 0x7fffffff);
    largest = new Float32Array(Uint32Array.of(most).buffer)[0] ?? 0;
    infinity = 0x7f800000;
  } else {
    most = largestBits(viewAs("BF16", bytes), 0x7fff);
    largest = (dtype === "F16" ? float16ToFloat32 : bfloat16ToFloat32)(Uint16Array.of(most))[0] ?? 0;
    infinity = dtype === "F16" ? 0x7c00 : 0x7f80;
  }
  return { finite: most < infinity, zero: most === 0, largest };
}

function largestBits(bits: Uint32Array | Uint16Array, mask: number): number {
  let most = 0;
  for (let i = 0; i < bits.length; i++) {
    const magnitude = (bits[i] ?? 0) & mask;
    if (magnitude > most) most = magnitude;
  }
  return most;
}
