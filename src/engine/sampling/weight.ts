/**
 * Weights of tokens relative to the best one, and the buckets that sort them coarsely without a sort. A token's depth is its
 * distance below the best logit, divided by the temperature, in 1/32 nat; its weight is exp(-depth / 32), its bucket the
 * depth's whole part.
 */
import { float64At } from "../../base/list.js";

export const depthsPerNat = 32;

/** Past 40 nats a token counts as impossible: 262,144 of them together weigh less than 1e-11 of the best one. */
export const deepest = 40 * depthsPerNat;

/** `edgeWeight[b]`: the largest weight of bucket b; the next entry bounds it from below. [deepest + 2] */
export const edgeWeight = Float64Array.from({ length: deepest + 2 }, (_, bucket) => Math.exp(-bucket / depthsPerNat));

/**
 * exp(-depth / 32) for a depth in [0, deepest]: a table for the whole part, Taylor's series 1 - y + y^2/2 - y^3/6 + y^4/24 -
 * y^5/120 for the rest; relative error below 2e-12. `edges` is `edgeWeight`, held by the caller in a local: a module's
 * constant would be loaded for every token.
 */
export function weightAt(edges: Float64Array, depth: number): number {
  const bucket = depth | 0;
  const y = (depth - bucket) * 0.03125;
  const z = y * y;
  const series = 1 - y + z * (0.5 - y * 0.16666666666666666 + z * (0.041666666666666664 - y * 0.008333333333333333));
  return float64At(edges, bucket) * series;
}
