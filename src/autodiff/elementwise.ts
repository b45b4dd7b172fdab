/** Gradients of elementwise operators. g is the gradient of y. */
import type { Ops } from "../graph/ops.js";
import type { Value } from "../graph/types.js";
import type { Call, VjpRule } from "./call.js";

type Unary = (op: Ops, g: Value, x: Value, y: Value, call: Call) => Value;
type Binary = (op: Ops, g: Value, a: Value, b: Value, y: Value) => readonly [() => Value, () => Value];

const unary =
  (rule: Unary): VjpRule =>
  (call) => [() => rule(call.op, call.g, call.x, call.y, call)];

const binary =
  (rule: Binary): VjpRule =>
  (call) =>
    rule(call.op, call.g, call.input(0), call.input(1), call.y);

const less = (op: Ops, value: number, x: Value): Value => op.sub(op.like(x, value), x); // value - x
const more = (op: Ops, x: Value, value: number): Value => op.add(x, op.like(x, value));
const square = (op: Ops, x: Value): Value => op.mul(x, x);

/** 1 for the winner, 1/2 for a tie, which both share. */
function share(op: Ops, winner: Value, loser: Value): Value {
  const above = op.cast(op.compare("Greater", winner, loser), winner.type);
  const equal = op.cast(op.compare("Equal", winner, loser), winner.type);
  return op.add(above, op.scale(equal, 0.5));
}

export const elementwise = {
  Identity: unary((_, g) => g), // dx = g
  Cast: unary((op, g, x) => op.cast(g, x.type)), // dx = g
  Neg: unary((op, g) => op.neg(g)), // dx = -g
  Exp: unary((op, g, _, y) => op.mul(g, y)), // dx = g y
  Log: unary((op, g, x) => op.div(g, x)), // dx = g / x
  Sqrt: unary((op, g, _, y) => op.div(op.scale(g, 0.5), y)), // dx = g / 2y
  Reciprocal: unary((op, g, _, y) => op.neg(op.mul(g, square(op, y)))), // dx = -g y²
  Abs: unary((op, g, x) => op.mul(g, op.unary("Sign", x))), // dx = g sign x
  Sin: unary((op, g, x) => op.mul(g, op.unary("Cos", x))), // dx = g cos x
  Cos: unary((op, g, x) => op.neg(op.mul(g, op.unary("Sin", x)))), // dx = -g sin x
  Sigmoid: unary((op, g, _, y) => op.mul(g, op.mul(y, less(op, 1, y)))), // dx = g y (1 - y)
  Tanh: unary((op, g, _, y) => op.mul(g, less(op, 1, square(op, y)))), // dx = g (1 - y²)
  Erf: unary((op, g, x) => op.mul(g, op.scale(op.exp(op.neg(square(op, x))), 2 / Math.sqrt(Math.PI)))), // dx = g 2/√π exp(-x²)
  Relu: unary((op, g, x) => op.mul(g, op.cast(op.compare("Greater", x, op.like(x, 0)), x.type))), // dx = g [x > 0]
  Softplus: unary((op, g, x) => op.mul(g, op.sigmoid(x))), // dx = g σ(x)
  Gelu: unary((op, g, x, _, call) => op.mul(g, geluSlope(op, x, call.string("approximate", "none")))),
  QuickGelu: unary((op, g, x, _, call) => {
    // y = x σ(αx): dx = g (s + y α (1 - s)), s = σ(αx)
    const alpha = call.float("alpha", 1.702);
    const s = op.sigmoid(alpha === 1 ? x : op.scale(x, alpha));
    const bend = op.mul(alpha === 1 ? call.y : op.scale(call.y, alpha), less(op, 1, s));
    return op.mul(g, op.add(s, bend));
  }),
  Add: binary((_, g) => [() => g, () => g]), // da = g, db = g
  Sub: binary((op, g) => [() => g, () => op.neg(g)]), // da = g, db = -g
  Mul: binary((op, g, a, b) => [() => op.mul(g, b), () => op.mul(g, a)]), // da = g b, db = g a
  Div: binary((op, g, _, b, y) => [() => op.div(g, b), () => op.neg(op.div(op.mul(g, y), b))]), // da = g / b, db = -g y / b
  Pow: binary((op, g, a, b, y) => [
    () => op.mul(g, op.mul(b, op.pow(a, more(op, b, -1)))), // da = g b a^(b-1)
    () => op.mul(g, op.mul(y, op.log(a))), // db = g y log a
  ]),
  Max: binary((op, g, a, b) => [() => op.mul(g, share(op, a, b)), () => op.mul(g, share(op, b, a))]), // da = g [a > b]
  Min: binary((op, g, a, b) => [() => op.mul(g, share(op, b, a)), () => op.mul(g, share(op, a, b))]), // da = g [a < b]
  Where: (call) => chosen(call.op, call.g, call.input(0)),
} satisfies Record<string, VjpRule>;

/** y = c ? a : b. da = c ? g : 0, db = c ? 0 : g. */
function chosen(op: Ops, g: Value, condition: Value) {
  const zero = op.like(g, 0);
  return [null, () => op.where(condition, g, zero), () => op.where(condition, zero, g)];
}

/** d gelu / dx: Φ(x) + x φ(x), or the slope of its tanh approximation (arXiv:1606.08415). */
function geluSlope(op: Ops, x: Value, approximate: string): Value {
  if (approximate === "none") {
    const below = op.scale(more(op, op.unary("Erf", op.scale(x, Math.SQRT1_2)), 1), 0.5); // Φ
    const density = op.scale(op.exp(op.scale(square(op, x), -0.5)), 1 / Math.sqrt(2 * Math.PI)); // φ
    return op.add(below, op.mul(x, density));
  }
  // t = tanh(c (x + k x³)): ½ (1 + t) + ½ x (1 - t²) c (1 + 3k x²)
  const [c, k] = [Math.sqrt(2 / Math.PI), 0.044715];
  const xx = square(op, x);
  const t = op.tanh(op.mul(op.scale(x, c), more(op, op.scale(xx, k), 1)));
  const inner = more(op, op.scale(xx, 3 * k * c), c);
  const bend = op.mul(op.mul(x, less(op, 1, square(op, t))), inner);
  return op.scale(op.add(more(op, t, 1), bend), 0.5);
}
