/** Turns a module's two matrices, as bytes of the file, into PEFT's layout (for the digest) and the engine's (for host memory). */

import { float32At } from "../../base/list.js";
import { viewAs } from "../../tensor/dtype.js";
import { bfloat16ToFloat32, float16ToFloat32 } from "../../tensor/half.js";
import { transpose } from "../../tensor/transpose.js";
import type { HostModule, HostTable } from "../types.js";
import type { MatrixDtype, ModulePlan, StoredMatrix } from "./module-plan.js";

export const isMatrixDtype = (dtype: string): dtype is MatrixDtype =>
  dtype === "F32" || dtype === "F16" || dtype === "BF16";

export type Elements = Float32Array | Uint16Array;

/** The matrix's elements, in the file's order. */
export function elementsOf(dtype: MatrixDtype, bytes: Uint8Array): Elements {
  return dtype === "F32" ? viewAs("F32", bytes) : viewAs("BF16", bytes);
}

/** [r, in] of A or [out, r] of B. */
export function peftLayout(matrix: StoredMatrix, elements: Elements): Elements {
  return matrix.transposed ? transpose(elements, ...matrix.shape) : elements;
}

/** [in, r] of A or [r, out] of B, in new memory. */
function hostLayout(matrix: StoredMatrix, elements: Elements): Elements {
  return matrix.transposed ? elements.slice() : transpose(elements, ...matrix.shape);
}

/** A module's dtype in host memory: the file's, or F32 if its matrices differ or the method has an extra tensor. */
export function hostDtype({ a, b, extra }: Pick<ModulePlan, "a" | "b" | "extra">): MatrixDtype {
  return extra || a.dtype !== b.dtype ? "F32" : a.dtype;
}

/** A module's tensors in the file's layout; `extra` if the method has one. */
export interface ModuleElements {
  readonly a: Elements;
  readonly b: Elements;
  readonly extra: Elements | null;
  readonly addedBias: Elements | null;
}

/** A saved module's tensors; null where the file has none. */
export interface SavedElements {
  readonly weight: Elements | null;
  readonly bias: Elements | null;
}

/** The module as the engine copies it: 16-bit elements stay as they are, F32 has the scale folded into B. In new memory. */
export function hostModule(module: ModulePlan, elements: ModuleElements): HostModule {
  const { addedBias } = module;
  const host = hostProduct(module, elements);
  if (!addedBias || !elements.addedBias) return host;
  const shift = Float32Array.from(widen(addedBias.dtype, elements.addedBias));
  multiply(shift, module.scale);
  return { ...host, shift };
}

/** LoRA on a table, in float32 and new memory, with the scale folded into B. */
export function hostTable({ rank, scale, a, b }: ModulePlan, elements: ModuleElements): HostTable {
  const rows = widen(a.dtype, hostLayout(a, elements.a));
  const columns = widen(b.dtype, hostLayout(b, elements.b));
  multiply(columns, scale);
  return { rank, a: rows, b: columns };
}

function hostProduct(module: ModulePlan, { a, b, extra }: ModuleElements): HostModule {
  const { rank, scale } = module;
  const dtype = hostDtype(module);
  const hostA = hostLayout(module.a, dtype === "F32" ? widen(module.a.dtype, a) : a);
  const hostB = hostLayout(module.b, dtype === "F32" ? widen(module.b.dtype, b) : b);
  if (dtype !== "F32") return { rank, dtype, a: hostA, b: hostB, scale };
  if (hostB instanceof Float32Array) multiply(hostB, scale);
  const host = { rank, dtype, a: hostA, b: hostB, scale: 1 };
  return module.extra && extra ? module.extra.spec.addTo(host, widen(module.extra.dtype, extra)) : host;
}

function multiply(values: Float32Array, factor: number): void {
  for (let i = 0; i < values.length; i++) values[i] = float32At(values, i) * factor;
}

export function widen(dtype: MatrixDtype, elements: Elements): Float32Array {
  if (elements instanceof Float32Array) return elements;
  return dtype === "F16" ? float16ToFloat32(elements) : bfloat16ToFloat32(elements);
}
