/** What frozen, quantized products pass back: dx = g W, by the copies that were made for it (`planBackward`). */
import { only } from "../../base/list.js";
import type { Ops } from "../../graph/ops.js";
import type { Value } from "../../graph/types.js";
import type { TargetModule } from "../blueprint.js";
import { buildLinear, dequantize, integer, quantizeBy } from "../serving/linear.js";
import { type WeightSource, weightOf } from "../weights.js";
import { backwardPart } from "./types.js";

/** g [rows, out] to [rows, in]. */
export function buildBackward(op: Ops, weights: WeightSource, part: TargetModule, g: Value): Value {
  return only(buildLinear(op, weights, [backwardPart(part)], g));
}

/**
 * The same for a head, whose g is made of distributions over the vocabulary. Their many small entries count as much as the
 * few large ones, and int8 loses them: the gradient's cosine is 0.91 with a scale for each row on the embedded model, 0.998
 * with one for each block. So g is the sum of two matrices, the second of what the first has rounded away. `isPositive`: no
 * entry of g is below 0, which leaves a bit more for each.
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
