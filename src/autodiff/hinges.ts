/** Gradients of activations of vision models and policies. g is the gradient of y. At a corner the slope is that of the flatter side. */
import type { Ops } from "../graph/ops.js";
import type { Value } from "../graph/types.js";
import type { Call, VjpRule } from "./call.js";

/** dx = g slope(x). */
const sloped =
  (slope: (op: Ops, x: Value, call: Call) => Value): VjpRule =>
  (call) => [() => call.op.mul(call.g, slope(call.op, call.x, call))];

const isPositive = (op: Ops, x: Value): Value => op.compare("Greater", x, op.like(x, 0));

/** Whether low < x < high. A missing bound is infinite. */
function isBetween(op: Ops, x: Value, low: Value | null, high: Value | null): Value | null {
  const above = low && op.compare("Greater", x, low);
  const below = high && op.compare("Less", x, high);
  return above && below ? op.binary("And", above, below) : (above ?? below);
}

/** y = x > 0 ? x : α x. */
const LeakyRelu = sloped((op, x, call) =>
  op.where(isPositive(op, x), op.like(x, 1), op.like(x, call.float("alpha", 0.01))),
);

/** y = x > 0 ? x : w x, with a w for each channel: dx = g (x > 0 ? 1 : w), dw = Σ g min(x, 0). */
const PRelu: VjpRule = (call) => {
  const { op, g, x } = call;
  return [
    () => op.mul(g, op.where(isPositive(op, x), op.like(x, 1), call.input(1))),
    () => op.mul(g, op.binary("Min", x, op.like(x, 0))),
  ];
};

/** y = x > 0 ? x : α (e^x - 1): dx = g (x > 0 ? 1 : y + α). */
const Elu = sloped((op, x, call) => {
  const below = op.add(call.y, op.like(x, call.float("alpha", 1)));
  return op.where(isPositive(op, x), op.like(x, 1), below);
});

/** y = min(max(x, low), high): dx = g where x lies between. The bounds get no gradient. */
const Clip: VjpRule = (call) => [
  () => {
    const { op, g, x } = call;
    const inside = isBetween(op, x, call.optional(1), call.optional(2));
    return inside ? op.mul(g, op.cast(inside, x.type)) : g;
  },
];

/** y = min(max(α x + β, 0), 1): dx = g α where y lies between. */
const HardSigmoid = sloped((op, x, call) => {
  const inside = isBetween(op, call.y, op.like(x, 0), op.like(x, 1));
  return op.scale(op.cast(inside ?? call.refuse("it has no bounds"), x.type), call.float("alpha", 0.2));
});

/** y = x min(max(x / 6 + 1/2, 0), 1): dx = g (x / 3 + 1/2) where |x| < 3, g above, 0 below. */
const HardSwish = sloped((op, x) => {
  const middle = op.add(op.scale(x, 1 / 3), op.like(x, 0.5));
  const inside = op.compare("Less", op.unary("Abs", x), op.like(x, 3));
  return op.where(inside, middle, op.cast(isPositive(op, x), x.type));
});

/** y = x t, t = tanh(log(1 + e^x)): dx = g (t + x (1 - t²) σ(x)) (arXiv:1908.08681). */
const Mish = sloped((op, x) => {
  const t = op.tanh(op.unary("Softplus", x));
  const bend = op.sub(op.like(x, 1), op.mul(t, t));
  return op.add(t, op.mul(op.mul(x, bend), op.sigmoid(x)));
});

export const hinges = { LeakyRelu, PRelu, Elu, Clip, HardSigmoid, HardSwish, Mish } satisfies Record<string, VjpRule>;
