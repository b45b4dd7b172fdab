/** The activations of sentence-transformers' Dense layers, by PyTorch's class, with the arguments that PyTorch gives by default. */

import { float } from "../../graph/builder.js";
import type { Ops } from "../../graph/ops.js";
import type { Value } from "../../graph/types.js";

const activations = {
  Identity: (_: Ops, x: Value) => x,
  Tanh: (op: Ops, x: Value) => op.tanh(x),
  Sigmoid: (op: Ops, x: Value) => op.sigmoid(x),
  ReLU: (op: Ops, x: Value) => op.unary("Relu", x),
  GELU: (op: Ops, x: Value) => op.gelu(x, "none"),
  SiLU: (op: Ops, x: Value) => op.mul(x, op.sigmoid(x)),
  Softplus: (op: Ops, x: Value) => op.unary("Softplus", x),
  Mish: (op: Ops, x: Value) => op.one("Mish", [x], x.type, x.shape),
  ELU: (op: Ops, x: Value) => op.one("Elu", [x], x.type, x.shape),
  LeakyReLU: (op: Ops, x: Value) => op.one("LeakyRelu", [x], x.type, x.shape, { alpha: float(0.01) }),
  Hardswish: (op: Ops, x: Value) => op.one("HardSwish", [x], x.type, x.shape),
  Hardsigmoid: (op: Ops, x: Value) => op.one("HardSigmoid", [x], x.type, x.shape, { alpha: float(1 / 6) }),
  ReLU6: (op: Ops, x: Value) => op.one("Clip", [x, op.like(x, 0), op.like(x, 6)], x.type, x.shape),
} as const satisfies Readonly<Record<string, (op: Ops, x: Value) => Value>>;

export type ActivationName = keyof typeof activations;

/** null: not one of PyTorch's that are computed. `path`: such as `torch.nn.modules.activation.Tanh`. */
export function activationOf(path: unknown): ActivationName | null {
  if (path === null) return "Identity";
  const parts = typeof path === "string" ? path.split(".") : [];
  const name = parts.at(-1) ?? "";
  return parts[0] === "torch" && Object.hasOwn(activations, name) ? (name as ActivationName) : null;
}

export const activate = (op: Ops, x: Value, name: ActivationName): Value => activations[name](op, x);
