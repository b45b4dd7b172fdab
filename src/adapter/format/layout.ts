/** Turns a module's two matrices, as bytes of the file, into PEFT's layout (for the digest) and the engine's (for host memory). */

import { viewAs } from "../../tensor/dtype.js";
import { bfloat16ToFloat32, float16ToFloat32 } from "../../tensor/half.js";
import { transpose } from "../../tensor/transpose.js";
import type { HostModule } from "../types.js";
import type { Matrix, MatrixDtype, ModulePlan } from "./modules.js";

export type Elements = Float32Array | Uint16Array;

/** The matrix's elements, in the file's order. */
export function elementsOf(dtype: MatrixDtype, bytes: Uint8Array): Elements {
  return dtype === "F32" ? viewAs("F32", bytes) : viewAs("BF16", bytes);
}

/** [r, in] of A or [out, r] of B. */
export function peftLayout(matrix: Matrix, elements: Elements): Elements {
  return matrix.transposed ? transpose(elements, ...matrix.shape) : elements;
}

/** [in, r] of A or [r, out] of B, in memory of its own. */
function hostLayout(matrix: Matrix, elements: Elements): Elements {
  return matrix.transposed ? elements.slice() : transpose(elements, ...matrix.shape);
}

/** How a module lies in host memory: as in the file, or in F32 where its matrices differ or something is folded into them. */
export function hostDtype({ a, b, e, m }: Pick<ModulePlan, "a" | "b" | "e" | "m">): MatrixDtype {
  return e || m || a.dtype !== b.dtype ? "F32" : a.dtype;
}

/** A module's tensors in the file's layout; `e` and `m` where the method has them. */
export interface ModuleElements {
  readonly a: Elements;
  readonly b: Elements;
  readonly e: Elements | null;
  readonly m: Elements | null;
}

/** The site that the engine copies: 16-bit elements stay as they are, F32 has the scale folded into B. Owns its memory. */
export function hostModule(module: ModulePlan, { a, b, e, m }: ModuleElements): HostModule {
  const { rank, scale } = module;
  const dtype = hostDtype(module);
  const hostA = hostLayout(module.a, dtype === "F32" ? widen(module.a.dtype, a) : a);
  const hostB = hostLayout(module.b, dtype === "F32" ? widen(module.b.dtype, b) : b);
  if (dtype !== "F32") return { rank, dtype, a: hostA, b: hostB, scale };
  if (module.e && e && hostA instanceof Float32Array) multiplyColumns(hostA, widen(module.e.dtype, e));
  if (hostB instanceof Float32Array) multiply(hostB, scale);
  const site = { rank, dtype, a: hostA, b: hostB, scale: 1 };
  if (!module.m || !m) return site;
  return { ...site, magnitude: Float32Array.from(widen(module.m.dtype, m)) };
}

/** Of [rows, factors.length]. */
function multiplyColumns(values: Float32Array, factors: Elements): void {
  for (let i = 0; i < values.length; i++) values[i] = (values[i] ?? 0) * (factors[i % factors.length] ?? 0);
}

function multiply(values: Float32Array, factor: number): void {
  for (let i = 0; i < values.length; i++) values[i] = (values[i] ?? 0) * factor;
}

function widen(dtype: MatrixDtype, elements: Elements): Elements {
  if (elements instanceof Float32Array) return elements;
  return dtype === "F16" ? float16ToFloat32(elements) : bfloat16ToFloat32(elements);
}
