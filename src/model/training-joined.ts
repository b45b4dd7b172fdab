/**
 * Frozen products that share an input, with the adapters of the layers that they stand for, as one stretch with a gradient
 * of its own: what all adapters do to the input, and pass back to it, is one product each.
 */
import { assert } from "../base/errors.js";
import type { CustomGradient } from "../graph/gradient.js";
import type { Ops } from "../graph/ops.js";
import type { Value } from "../graph/types.js";

/** A [in, rank] and B [rank, out] of a layer, which counts `scale` times. */
export interface JoinedAdapter {
  readonly a: Value;
  readonly b: Value;
  readonly rank: number;
  readonly scale: number;
}

export interface JoinedLayer {
  readonly outFeatures: number;
  readonly adapter: JoinedAdapter | null;
}

export interface JoinedLinear {
  /** [tokens, in]. */
  readonly x: Value;
  /** The frozen product, the layers' outputs side by side. */
  readonly base: Value;
  readonly layers: readonly JoinedLayer[];
  /** g W of the frozen product, for the layers' gradients side by side: [tokens, in]. */
  back(op: Ops, gradient: Value): Value;
}

/** y = base + s (x A) B of each layer. */
export function buildJoinedLinear(op: Ops, linear: JoinedLinear): { outputs: Value[]; gradient: CustomGradient } {
  const { x, base, layers } = linear;
  const sizes = layers.map(({ outFeatures }) => outFeatures);
  const bases = layers.length > 1 ? op.split(base, sizes, 1) : [base];
  const adapters = layers.flatMap(({ adapter }) => adapter ?? []);
  const factor = joined(
    op,
    adapters.map(({ a }) => a),
  ); // [in, ranks]
  const inner = factor ? parted(op, op.matMul(x, factor), adapters) : []; // [tokens, rank] each
  const outputs = layers.map(({ adapter }, i) => {
    const y = bases[i] ?? base;
    const h = adapter && inner[adapters.indexOf(adapter)];
    return h ? op.gemm(h, adapter.b, y, { alpha: adapter.scale }) : y;
  });
  const gradient: CustomGradient = {
    inputs: [x, ...adapters.flatMap(({ a, b }) => [a, b])],
    outputs,
    vjp(by, arrived, [wantsX = false], kept) {
      const gradients = arrived.filter((part) => part !== null);
      assert(gradients.length === outputs.length, "every output has a gradient");
      const below = wantsX ? linear.back(by, joined(by, gradients) ?? base) : null;
      const adapted = gradients.filter((_, i) => layers[i]?.adapter);
      const up = joined(
        by,
        adapters.map(({ b, scale }, i) => by.gemm(adapted[i] ?? base, b, null, { transB: true, alpha: scale })),
      ); // [tokens, ranks]
      if (!up || !factor) return [below];
      const das = parted(by, by.gemm(kept(x), up, null, { transA: true }), adapters);
      // Computed tall, see the rules of products: [out, rank].
      const dbs = adapters.map(({ scale }, i) =>
        by.gemm(adapted[i] ?? base, kept(inner[i] ?? base), null, { transA: true, alpha: scale }),
      );
      const dx = below && by.gemm(up, factor, below, { transB: true });
      return [dx, ...adapters.flatMap((_, i) => [das[i] ?? null, by.transpose(dbs[i] ?? base, [1, 0])])];
    },
  };
  return { outputs, gradient };
}

/** Side by side; null for none. */
function joined(op: Ops, parts: readonly Value[]): Value | null {
  const [only = null] = parts;
  return parts.length < 2 ? only : op.concat(parts, 1);
}

/** Columns by the adapters' ranks. */
function parted(op: Ops, x: Value, adapters: readonly JoinedAdapter[]): Value[] {
  if (adapters.length < 2) return [x];
  return op.split(
    x,
    adapters.map(({ rank }) => rank),
    1,
  );
}
