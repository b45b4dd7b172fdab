/** Where the decoder's weights lie and in which form: what the lowering needs to know, whoever prepared them. */

import type { GraphBuilder } from "../graph/builder.js";
import type { ElementType, Shape, Value } from "../graph/types.js";
import type { TensorLocation } from "./types.js";

export type WeightForm =
  /** [out, in], or [in, out] for gpt2's Conv1D. */
  | { readonly kind: "fp32"; readonly data: TensorLocation }
  /** MatMulNBits: uint8 [out, blocks, blockBytes], scales float32 [out * blocks], packed zero points or null. */
  | {
      readonly kind: "int4" | "int8";
      readonly data: TensorLocation;
      readonly scales: TensorLocation;
      readonly zeroPoints: TensorLocation | null;
    }
  /** MatMulIntegerToFloat: int8 [in, out], scales float32 [out]. */
  | { readonly kind: "int8row"; readonly data: TensorLocation; readonly scales: TensorLocation };

export interface WeightSource {
  /** The form of a checkpoint tensor by its whole name. */
  form(name: string): WeightForm;
  has(name: string): boolean;
}

const elementTypes: Partial<Record<TensorLocation["dtype"], ElementType>> = {
  F32: "float32",
  F16: "float16",
  BF16: "bfloat16",
  U8: "uint8",
  I8: "int8",
};

/** A stored tensor as an initializer that points into its file; `shape` may regroup its elements. */
export function externalInitializer(
  builder: GraphBuilder,
  name: string,
  location: TensorLocation,
  shape: Shape = location.shape,
): Value {
  const type = elementTypes[location.dtype];
  if (!type) throw new Error(`No initializer of ${location.dtype}`);
  const { file, offset, byteLength } = location;
  return builder.initializer(name, type, shape, { kind: "external", file, offset, byteLength });
}
