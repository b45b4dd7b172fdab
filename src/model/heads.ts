/** Operations on heads in [tokens, heads*headDim] that both lowerings share: splitting them and normalizing each. */
import { at } from "../base/list.js";
import type { Ops } from "../graph/ops.js";
import type { Value } from "../graph/types.js";
import type { HeadNorm, Norm } from "./blueprint.js";

/** Splits [tokens, heads*parts*headDim], where each head has its parts in turn, into `parts` values [tokens, heads*headDim]. */
export function unpackHeads(op: Ops, x: Value, heads: number, parts: number): Value[] {
  const tokens = at(x.shape, 0);
  const width = Number(at(x.shape, 1)) / parts;
  const headDim = width / heads;
  const sizes = new Array<number>(parts).fill(headDim);
  const apart = op.split(op.reshape(x, [tokens, heads, parts * headDim]), sizes, 2);
  return apart.map((part) => op.reshape(part, [tokens, width]));
}

/** How a lowering normalizes the last axis with given factors, and how it reads a norm's factors. */
export interface Normalizer {
  norm(norm: Norm, x: Value): Value;
  normBy(norm: Norm, x: Value, gain: Value): Value;
  gain(norm: Norm): Value;
}

/** Normalizes queries or keys, [tokens, heads*headDim]. */
export function normalizeHeads(op: Ops, headNorm: HeadNorm, x: Value, heads: number, by: Normalizer): Value {
  const { scope } = headNorm;
  if (scope === "whole") return by.norm(headNorm.norm, x);
  const [tokens = 1, width = 1] = x.shape;
  const rows = op.reshape(x, [tokens, heads, Number(width) / heads]);
  const flat = (normed: Value): Value => op.reshape(normed, [tokens, width]);
  if (scope === "shared") return flat(by.norm(headNorm.norm, rows));
  // The kernels take one factor per feature for all rows: normalize with ones first, then multiply by each head's factors.
  const { norms } = headNorm;
  const first = at<Norm>(norms, 0);
  const ones = op.expand(op.like(x, 1), [first.size]);
  return op.mul(
    flat(by.normBy(first, rows, ones)),
    op.concat(
      norms.map((norm) => by.gain(norm)),
      0,
    ),
  );
}
