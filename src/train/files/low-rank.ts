/** Adds the product of an adapter's two matrices to a weight. */

import type { HostModule } from "../../adapter/types.js";
import { float32At } from "../../base/list.js";
import { bfloat16ToFloat32, float16ToFloat32 } from "../../tensor/half.js";
import { transpose } from "../../tensor/transpose.js";

/** W += s B A, for W [out, in], or [in, out] if transposed. */
export function addProduct(weight: Float32Array, module: HostModule, transposed: boolean): void {
  const { rank, scale } = module;
  const a = widen(module.a, module.dtype); // [in, rank]
  const b = widen(module.b, module.dtype); // [rank, out]
  const [inputs, outputs] = [a.length / rank, b.length / rank];
  // Each row of the weight gets a sum of rows of one factor, weighted by the other.
  const [rows, columns] = transposed ? [inputs, outputs] : [outputs, inputs];
  const rowFactors = transposed ? a : transpose(b, rank, outputs); // [rows, rank]
  const columnFactors = transposed ? b : transpose(a, inputs, rank); // [rank, columns]
  for (let row = 0; row < rows; row++) {
    for (let r = 0; r < rank; r++) {
      const factor = scale * float32At(rowFactors, row * rank + r);
      const from = r * columns;
      const to = row * columns;
      for (let i = 0; i < columns; i++)
        weight[to + i] = float32At(weight, to + i) + factor * float32At(columnFactors, from + i);
    }
  }
}

function widen(values: Float32Array | Uint16Array, dtype: HostModule["dtype"]): Float32Array {
  if (values instanceof Float32Array) return values;
  return dtype === "F16" ? float16ToFloat32(values) : bfloat16ToFloat32(values);
}
