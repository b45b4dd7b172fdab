/** Gradients of matrix products. */
import { last } from "../base/list.js";
import type { Ops } from "../graph/ops.js";
import { dimProduct } from "../graph/shape.js";
import type { Value } from "../graph/types.js";
import type { Call, VjpRule } from "./call.js";

/** y = a b: da = g bᵀ, db = aᵀ g. Vectors are matrices of one row or column. */
const MatMul: VjpRule = (call: Call) => {
  const { op, g, sizes } = call;
  const [a, b] = [call.input(0), call.input(1)];
  const isRow = a.shape.length === 1;
  const isColumn = b.shape.length === 1;
  const left = isRow ? op.unsqueeze(a, 0) : a;
  const right = isColumn ? op.unsqueeze(b, 1) : b;
  let up = isColumn ? op.unsqueeze(g, -1) : g;
  if (isRow) up = op.unsqueeze(up, up.shape.length - 1);
  return [
    () => {
      const da = op.matMul(up, swapped(op, right));
      return isRow ? sizes.reshape(summed(op, da, 2), a) : da;
    },
    () => {
      const db = right.shape.length === 2 ? flatProduct(op, left, up, right) : op.matMul(swapped(op, left), up);
      return isColumn ? sizes.reshape(db, b) : db;
    },
  ];
};

/** Swaps the last two axes. */
export function swapped(op: Ops, x: Value): Value {
  const rank = x.shape.length;
  const perm = Array.from({ length: rank }, (_, i) => (i < rank - 2 ? i : 2 * rank - 3 - i));
  return op.transpose(x, perm);
}

/** Sums over all but the last `kept` axes. */
function summed(op: Ops, x: Value, kept: number): Value {
  const axes = Array.from({ length: x.shape.length - kept }, (_, i) => i);
  return axes.length === 0 ? x : op.sum(x, axes, false);
}

/** aᵀ g summed over all batches, as one product over all rows. */
function flatProduct(op: Ops, a: Value, g: Value, b: Value): Value {
  const [left, right] = a.shape.length === 2 ? [a, g] : [rows(op, a), rows(op, g)];
  return isWide(b)
    ? swapped(op, op.gemm(right, left, null, { transA: true }))
    : op.gemm(left, right, null, { transA: true });
}

function rows(op: Ops, x: Value): Value {
  const end = last(x.shape);
  const count = dimProduct(x.shape.slice(0, -1));
  const width = typeof end === "number" ? end : 0;
  if (width > 0) return op.reshape(x, [count, width], op.builder.constant("int64", [2], [-1, width]));
  const target = op.concat(
    [op.builder.constant("int64", [1], [-1]), op.slice(op.shapeOf(x), 0, x.shape.length - 1, x.shape.length)],
    0,
  );
  return op.reshape(x, [count, end], target);
}

/**
 * ONNX Runtime divides the columns of a wide product among its threads, and with few columns each the order of summation differs.
 * So a wide gradient is computed transposed, and its bytes do not depend on the number of threads.
 */
function isWide({ shape: [rows, columns] }: Value): boolean {
  return typeof rows === "number" && typeof columns === "number" && rows < columns;
}

/** y = α op(a) op(b) + β c, where op may transpose: da = α g op(b)ᵀ (transposed if a was), db = α op(a)ᵀ g, dc = β g. */
const Gemm: VjpRule = (call: Call) => {
  const { op, g } = call;
  const [a, b] = [call.input(0), call.input(1)];
  const transA = call.int("transA", 0) !== 0;
  const transB = call.int("transB", 0) !== 0;
  const alpha = call.float("alpha", 1);
  const beta = call.float("beta", 1);
  return [
    () =>
      transA
        ? op.gemm(b, g, null, { transA: transB, transB: true, alpha })
        : op.gemm(g, b, null, { transB: !transB, alpha }),
    () => {
      const turnedBack = transB || isWide(b);
      if (!turnedBack) return op.gemm(a, g, null, { transA: !transA, alpha });
      const db = op.gemm(g, a, null, { transA: true, transB: transA, alpha }); // of bᵀ
      return transB ? db : swapped(op, db);
    },
    () => (beta === 1 ? g : op.scale(g, beta)),
  ];
};

export const products = { MatMul, Gemm } satisfies Record<string, VjpRule>;
