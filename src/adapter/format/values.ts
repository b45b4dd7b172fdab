/** Scans a tensor's numbers without converting them: whether all are finite, whether all are zero, and the largest magnitude. */

import { float32At } from "../../base/list.js";
import { viewAs } from "../../tensor/dtype.js";
import { bfloat16ToFloat32, float16ToFloat32 } from "../../tensor/half.js";
import type { MatrixDtype } from "./module-plan.js";

export interface ValueSummary {
  readonly finite: boolean;
  /** All values are zero. */
  readonly zero: boolean;
  /** Largest magnitude; meaningless if a value is not finite. */
  readonly largest: number;
}

const infinities = { F32: 0x7f800000, F16: 0x7c00, BF16: 0x7f80 } as const;

/** Scans a tensor piece by piece. Magnitudes sort like their bits without the sign, so one integer maximum is enough. */
export class ValueScan {
  readonly #dtype: MatrixDtype;
  #most = 0;

  constructor(dtype: MatrixDtype) {
    this.#dtype = dtype;
  }

  /** Whole elements, aligned. */
  add(bytes: Uint8Array): void {
    this.#most =
      this.#dtype === "F32"
        ? largestBits(new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4), 0x7fffffff, this.#most)
        : largestBits(viewAs("BF16", bytes), 0x7fff, this.#most);
  }

  summary(): ValueSummary {
    const largest = fromBits(this.#dtype, this.#most);
    return { finite: this.#most < infinities[this.#dtype], zero: this.#most === 0, largest };
  }
}

function fromBits(dtype: MatrixDtype, bits: number): number {
  if (dtype === "F32") return float32At(new Float32Array(Uint32Array.of(bits).buffer), 0);
  return float32At((dtype === "F16" ? float16ToFloat32 : bfloat16ToFloat32)(Uint16Array.of(bits)), 0);
}

function largestBits(bits: Uint32Array | Uint16Array, mask: number, least: number): number {
  let most = least;
  for (const word of bits) {
    const magnitude = word & mask;
    if (magnitude > most) most = magnitude;
  }
  return most;
}
