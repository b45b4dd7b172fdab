/** A checked module of an adapter, as stored in its file. */

import type { ExtraTensor } from "./methods/method.js";

export type MatrixDtype = "F32" | "F16" | "BF16";

export interface StoredMatrix {
  /** The name in the file. */
  readonly name: string;
  readonly dtype: MatrixDtype;
  readonly shape: readonly [number, number];
  /** mlx-lm's layout: A [in, r], B [r, out]. */
  readonly transposed: boolean;
}

/** What the method has besides A and B. */
export interface StoredExtra {
  readonly name: string;
  readonly dtype: MatrixDtype;
  readonly shape: readonly number[];
  readonly spec: ExtraTensor;
}

/** A target module with the rank and the scale of its adapter. */
export interface ScaledModule {
  /** Of the base's target module. */
  readonly path: string;
  readonly inFeatures: number;
  readonly outFeatures: number;
  readonly rank: number;
  readonly alpha: number;
  /** The factor of B A x. */
  readonly scale: number;
}

export interface ModulePlan extends ScaledModule {
  readonly a: StoredMatrix;
  readonly b: StoredMatrix;
  readonly extra: StoredExtra | null;
}
