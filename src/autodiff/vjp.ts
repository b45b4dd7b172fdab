/** The table of gradient rules (vector-Jacobian products), one per differentiable operator. Rules emit ordinary operators. */
import type { Node } from "../graph/types.js";
import type { VjpRule } from "./call.js";
import { convolution } from "./convolution.js";
import { elementwise } from "./elementwise.js";
import { hinges } from "./hinges.js";
import { indexing } from "./indexing.js";
import { layout } from "./layout.js";
import { normalization } from "./normalization.js";
import { products } from "./products.js";
import { reductions } from "./reductions.js";
import { resizing } from "./resizing.js";

/** Differentiable operators. */
export type DiffOp =
  | ("Identity" | "Cast" | "Neg" | "Exp" | "Log" | "Sqrt" | "Reciprocal" | "Abs" | "Sin" | "Cos")
  | ("Sigmoid" | "Tanh" | "Erf" | "Relu" | "Softplus" | "Gelu" | "QuickGelu")
  | ("LeakyRelu" | "PRelu" | "Elu" | "Clip" | "HardSigmoid" | "HardSwish" | "Mish")
  | ("Add" | "Sub" | "Mul" | "Div" | "Pow" | "Max" | "Min" | "Where")
  | ("MatMul" | "Gemm")
  | ("ReduceSum" | "ReduceMean" | "ReduceMax" | "Softmax" | "LogSoftmax")
  | ("Reshape" | "Flatten" | "Unsqueeze" | "Squeeze" | "Expand" | "Tile" | "Transpose")
  | ("Concat" | "Split" | "Slice" | "Pad")
  | ("Gather" | "GatherElements" | "GatherND" | "ScatterElements" | "ScatterND")
  | ("SimplifiedLayerNormalization" | "LayerNormalization" | "BatchNormalization" | "RotaryEmbedding")
  | ("GroupNormalization" | "InstanceNormalization" | "Resize")
  | ("Conv" | "ConvTranspose" | "MaxPool" | "AveragePool" | "GlobalAveragePool");

export const vjp: { readonly [K in DiffOp]: VjpRule } = {
  ...elementwise,
  ...hinges,
  ...products,
  ...reductions,
  ...layout,
  ...indexing,
  ...normalization,
  ...convolution,
  ...resizing,
};

/** Entries of the table in ONNX Runtime's com.microsoft domain; all others are ONNX's. `Gelu` is in both, with the same meaning. */
const contributed: Partial<Record<DiffOp, readonly string[]>> = {
  QuickGelu: ["com.microsoft"],
  RotaryEmbedding: ["com.microsoft"],
  Gelu: ["", "com.microsoft"],
};

const isDiffOp = (op: string): op is DiffOp => Object.hasOwn(vjp, op);

/** The rule for a node, or null if its operator has none. */
export function ruleOf({ op, domain }: Pick<Node, "op" | "domain">): VjpRule | null {
  if (!isDiffOp(op)) return null;
  return (contributed[op] ?? [""]).includes(domain) ? vjp[op] : null;
}
