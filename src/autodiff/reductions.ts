/** Gradients of reductions. */
import type { Value } from "../graph/types.js";
import type { Call, VjpRule } from "./call.js";

/** The axes of a reduction, and a function that restores them, with size 1, in a value of the output's shape. */
function reduction(call: Call) {
  const { x, op } = call;
  const given = call.axes(1);
  const all = x.shape.map((_, axis) => axis);
  const none = (given?.length ?? 0) === 0;
  const axes = none && call.int("noop_with_empty_axes", 0) !== 0 ? [] : none ? all : (given ?? all);
  const kept = call.int("keepdims", 1) !== 0;
  const spread = (y: Value): Value =>
    kept ? y : axes.toSorted((a, b) => a - b).reduce((value, axis) => op.unsqueeze(value, axis), y);
  return { axes, spread };
}

/** y = Σ x: dx = g, broadcast. */
const ReduceSum: VjpRule = (call) => [() => call.sizes.expand(reduction(call).spread(call.g), call.x)];

/** y = Σ x / n: dx = g / n, broadcast. */
const ReduceMean: VjpRule = (call) => {
  const { axes, spread } = reduction(call);
  return [
    () => {
      const shared = call.op.div(call.g, call.sizes.count(call.x, axes));
      return call.sizes.expand(spread(shared), call.x);
    },
  ];
};

/** y = max x: dx = g [x = y] / (number of x = y). */
const ReduceMax: VjpRule = (call) => {
  const { op, x, g, y } = call;
  const { axes, spread } = reduction(call);
  return [
    () => {
      const hit = op.cast(op.compare("Equal", x, spread(y)), x.type);
      return axes.length === 0 ? g : op.mul(hit, op.div(spread(g), op.sum(hit, axes)));
    },
  ];
};

/** dx = (g - Σ g y) y. */
const Softmax: VjpRule = (call) => {
  const { op, g, y } = call;
  return [() => op.mul(op.sub(g, op.sum(op.mul(g, y), [call.int("axis", -1)])), y)];
};

/** dx = g - e^y Σ g. */
const LogSoftmax: VjpRule = (call) => {
  const { op, g, y } = call;
  return [() => op.sub(g, op.mul(op.exp(y), op.sum(g, [call.int("axis", -1)])))];
};

export const reductions = { ReduceSum, ReduceMean, ReduceMax, Softmax, LogSoftmax } satisfies Record<string, VjpRule>;
