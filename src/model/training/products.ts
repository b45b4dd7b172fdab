/** Gradients of frozen, quantized products: dx = g W, with the transposed copies that `planBackward` plans. */
import { only } from "../../base/list.js";
import type { Ops } from "../../graph/ops.js";
import type { Value } from "../../graph/types.js";
import type { TargetModule } from "../blueprint.js";
import { buildLinear, dequantize, integer, quantizeBy } from "../serving/linear.js";
import { type WeightSource, weightOf } from "../weights.js";
import { backwardPart } from "./types.js";

/** dx = g W: g [rows, out] to [rows, in]. */
export function buildBackward(op: Ops, weights: WeightSource, part: TargetModule, g: Value): Value {
  return only(buildLinear(op, weights, [backwardPart(part)], g));
}

/**
 * The same for a head, whose g consists of distributions over the vocabulary. Their many small entries matter as much as the few
 * large ones, but int8 loses them: on the embedded model the gradient's cosine is 0.91 with a scale per row, 0.998 with one
 * per block. So g is the sum of two matrices, of which the second holds the first one's rounding error. `isPositive`: g has no
 * negative entries, which gains a bit of precision.
 */
export function buildHeadBackward(
  op: Ops,
  weights: WeightSource,
  part: TargetModule,
  g: Value,
  isPositive = false,
): Value {
  const back = backwardPart(part);
  const weight = weightOf(weights, `${back.path}.weight`);
  const sizes = isPositive ? g : op.unary("Abs", g);
  const largest = op.reduce("ReduceMax", sizes, [1]); // [rows, 1]
  if (weight.form !== "int8row") {
    const isLarge = op.compare("Greater", sizes, op.scale(largest, 1 / 100));
    const large = op.where(isLarge, g, op.like(g, 0));
    const product = (x: Value): Value => only(buildLinear(op, weights, [back], x));
    const small = op.sub(g, large);
    return op.add(product(large), product(small));
  }
  const [steps, zero] = isPositive ? [255, 0] : [127, 128];
  const coarse = quantizeBy(op, g, op.scale(largest, Math.fround(1 / steps)), zero);
  const fine = quantizeBy(op, op.sub(g, dequantize(op, coarse)), op.scale(coarse.scale, Math.fround(1 / 254)), 128);
  return op.add(integer(op, weight, back, coarse, null), integer(op, weight, back, fine, null));
}
