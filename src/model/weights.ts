/** Prepared weights: their forms, and initializers that refer to their bytes on disk. */

import { assert } from "../base/errors.js";
import type { GraphBuilder } from "../graph/builder.js";
import type { ElementType, Shape, Value } from "../graph/types.js";
import type { TensorLocation } from "./types.js";

/**
 * - `raw`: the stored bytes in their dtype (a table to gather from and cast).
 * - `fp16`: float16 in the stored layout; the checkpoint's bytes if it holds F16.
 * - `fp32`: float32 in the stored layout; the checkpoint's bytes if it holds F32.
 * - `int4`, `int8`: `MatMulNBits` blocks of 128, symmetric: U8 [out, blocks, 64 or 128] and F32 or F16 scales [out, blocks].
 * - `int8row`: I8 [in, out] and F32 scales [out] for `MatMulIntegerToFloat`.
 */
export type WeightForm = "raw" | "fp32" | "fp16" | "int4" | "int8" | "int8row";

/** How a weight was already quantized: its form and, for `int8row`, its limit. */
export interface Rounding {
  readonly form: "int4" | "int8" | "int8row";
  readonly rowLimit: number;
}

export interface PreparedWeight {
  readonly name: string;
  /** The resulting form: `int8` instead of the plan's `int8row` if the rows' error was too large. */
  readonly form: WeightForm;
  /** The joined stored tensors, in order; otherwise only the weight's own name. */
  readonly sources: readonly string[];
  /** As stored in the checkpoint (joined along the outputs). */
  readonly shape: readonly number[];
  /** The checkpoint stores [in, out]. So do `raw` and `fp32`; the layout of quantized data depends on its form. */
  readonly transposed: boolean;
  readonly data: TensorLocation;
  /** F32, or F16 where the plan says so; only for quantized forms. */
  readonly scales?: TensorLocation;
  /** Relative weight error ‖W - W'‖ / ‖W‖; 0 unless quantized. */
  readonly error: number;
  /** For a weight that fell back from `int8row` to `int8`: the relative error that its rows would have had. */
  readonly rowError?: number;
  /** For `int8row`: the integers lie in [-rowLimit, rowLimit]. */
  readonly rowLimit?: number;
  readonly bytes: number;
}

/** By the checkpoint's names, or the joined names of packed plans. */
export type WeightSource = ReadonlyMap<string, PreparedWeight>;

/** A weight by name. Throws `internal` if there is none. */
export function weightOf(weights: WeightSource, name: string): PreparedWeight {
  const weight = weights.get(name);
  assert(weight, `weight ${name} is prepared`);
  return weight;
}

const elementTypes: Partial<Record<TensorLocation["dtype"], ElementType>> = {
  F32: "float32",
  F16: "float16",
  BF16: "bfloat16",
  U8: "uint8",
  I8: "int8",
};

/** A stored tensor as an initializer that refers to its file; `shape` may regroup its elements. */
export function externalInitializer(
  builder: GraphBuilder,
  name: string,
  location: TensorLocation,
  shape: Shape = location.shape,
): Value {
  const type = elementTypes[location.dtype];
  assert(type, `${name}: an initializer can be ${location.dtype}`);
  const { file, offset, byteLength } = location;
  return builder.initializer(name, type, shape, { kind: "external", file, offset, byteLength });
}

/** An fp32 or fp16 vector or matrix. */
export function plainWeight(builder: GraphBuilder, weights: WeightSource, name: string): Value {
  const weight = weightOf(weights, name);
  assert(weight.form === "fp32" || weight.form === "fp16", `${name} is fp32 or fp16, not ${weight.form}`);
  return externalInitializer(builder, name, weight.data, weight.shape);
}
