/**
 * A frozen product and the adapters of the layers that it stands for, as one stretch with a gradient of its own: the factors
 * of all adapters lie side by side, so that each way takes few wide products instead of many narrow ones.
 */
import { assert } from "../base/errors.js";
import type { CustomGradient } from "../graph/gradient.js";
import type { Ops } from "../graph/ops.js";
import type { Value } from "../graph/types.js";

/** One adapter: A [in, rank], B [rank, width], and where its layer's outputs begin among those of the product. */
export interface JoinedAdapter {
  readonly a: Value;
  readonly b: Value;
  readonly rank: number;
  readonly scale: number;
  readonly begin: number;
  readonly width: number;
}

export interface JoinedLinear {
  /** [tokens, in]. */
  readonly x: Value;
  /** The frozen product, [tokens, sum of sizes]. */
  readonly base: Value;
  /** Outputs of each layer. */
  readonly sizes: readonly number[];
  readonly adapters: readonly JoinedAdapter[];
  /** g W of the frozen product: [tokens, sum of sizes] to [tokens, in]. */
  back(op: Ops, gradient: Value): Value;
}

/** One output for each layer: base + s (x A) B. */
export function buildJoinedLinear(op: Ops, linear: JoinedLinear): { outputs: Value[]; gradient: CustomGradient } {
  const { x, base, sizes, adapters } = linear;
  const factors = adapters.length > 0 ? joinFactors(op, linear) : null;
  const h = factors && op.matMul(x, factors.a); // [tokens, ranks]
  const whole = factors && h ? op.gemm(h, factors.b, base) : base;
  const outputs = sizes.length > 1 ? op.split(whole, sizes, 1) : [whole];
  const gradient: CustomGradient = {
    inputs: [x, ...adapters.flatMap(({ a, b }) => [a, b])],
    outputs,
    vjp(by, arrived, [wantsX = false], kept) {
      const parts = arrived.filter((part) => part !== null);
      assert(parts.length === outputs.length, "every output has a gradient");
      const [only] = parts;
      const g = only && parts.length === 1 ? only : by.concat(parts, 1); // [tokens, sum of sizes]
      const below = wantsX ? linear.back(by, g) : null;
      if (!factors || !h) return [below];
      const up = by.gemm(g, factors.b, null, { transB: true }); // [tokens, ranks]
      const dx = below && by.gemm(up, factors.a, below, { transB: true });
      const da = by.gemm(kept(x), up, null, { transA: true }); // [in, ranks]
      const db = by.gemm(g, kept(h), null, { transA: true }); // [sum of sizes, ranks]: tall, see the rules of products
      return [dx, ...splitFactors(by, linear, da, db)];
    },
  };
  return { outputs, gradient };
}

/** All A side by side, and B, with its scale, of each in the rows of its rank and the columns of its layer. */
function joinFactors(op: Ops, { sizes, adapters }: JoinedLinear): { a: Value; b: Value } {
  const all = sizes.reduce((sum, size) => sum + size, 0);
  const rows = adapters.map(({ b, rank, scale, begin, width }) => {
    const scaled = scale === 1 ? b : op.scale(b, scale);
    if (width === all) return scaled;
    const pads = op.builder.constant("int64", [4], [0, begin, 0, all - begin - width]);
    return op.one("Pad", [scaled, pads], b.type, [rank, all]);
  });
  const [a, b] = [adapters.map(({ a }) => a), rows];
  const [onlyA, onlyB] = [a[0], b[0]];
  return onlyA && onlyB && a.length === 1 ? { a: onlyA, b: onlyB } : { a: op.concat(a, 1), b: op.concat(b, 0) };
}

/** dA and dB of each adapter, from dA [in, ranks] and dBᵀ [sum of sizes, ranks] of all. */
function splitFactors(op: Ops, { adapters }: JoinedLinear, da: Value, db: Value): Value[] {
  let at = 0;
  return adapters.flatMap(({ rank, scale, begin, width }) => {
    const columns = (of: Value): Value => (of.shape[1] === rank ? of : op.slice(of, 1, at, at + rank));
    const rows = db.shape[0] === width ? db : op.slice(db, 0, begin, begin + width);
    const b = op.transpose(columns(rows), [1, 0]);
    const pair = [columns(da), scale === 1 ? b : op.scale(b, scale)];
    at += rank;
    return pair;
  });
}
