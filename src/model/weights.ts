/** Prepared weights as initializers: external data that points to where the bytes lie. */

import { assert } from "../base/errors.js";
import type { GraphBuilder } from "../graph/builder.js";
import type { ElementType, Shape, Value } from "../graph/types.js";
import type { PreparedWeight } from "./convert.js";
import type { TensorLocation } from "./types.js";

/** By the checkpoint's names, or the joined names of packed plans. */
export type WeightSource = ReadonlyMap<string, PreparedWeight>;

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

/** A stored tensor as an initializer that points into its file; `shape` may regroup its elements. */
export function externalInitializer(
  builder: GraphBuilder,
  name: string,
  location: TensorLocation,
  shape: Shape = location.shape,
): Value {
  const type = elementTypes[location.dtype];
  assert(type, `${name}: an initializer may be ${location.dtype}`);
  const { file, offset, byteLength } = location;
  return builder.initializer(name, type, shape, { kind: "external", file, offset, byteLength });
}

/** An fp32 vector or matrix. */
export function plainWeight(builder: GraphBuilder, weights: WeightSource, name: string): Value {
  const weight = weightOf(weights, name);
  assert(weight.form === "fp32", `${name} is fp32, not ${weight.form}`);
  return externalInitializer(builder, name, weight.data, weight.shape);
}
