/** Typed ONNX operators over a builder. Each infers its output's shape at the call, so that a mistake throws at the caller's line. */
import type { GraphBuilder } from "./builder.js";
import { float } from "./builder.js";
import { broadcastShapes, dimProduct, matMulShape, normalizeAxis, ShapeError, sameShape, showShape } from "./shape.js";
import type { Dim, ElementType, Shape, Value } from "./types.js";

type Unary =
  | "Neg"
  | "Exp"
  | "Log"
  | "Sqrt"
  | "Reciprocal"
  | "Abs"
  | "Sign"
  | "Sigmoid"
  | "Tanh"
  | "Erf"
  | "Relu"
  | "Softplus"
  | "Sin"
  | "Cos"
  | "Identity"
  | "Not";
type Binary = "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Max" | "Min" | "And" | "Or";
type Comparison = "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual";
type Reduction = "ReduceSum" | "ReduceMean" | "ReduceMax";

export class Ops {
  readonly builder: GraphBuilder;

  constructor(builder: GraphBuilder) {
    this.builder = builder;
  }

  scope<T>(name: string, body: () => T): T {
    return this.builder.scope(name, body);
  }

  one(
    op: string,
    inputs: readonly (Value | null)[],
    type: ElementType,
    shape: Shape,
    attributes: Parameters<GraphBuilder["node"]>[3] = {},
    domain = "",
  ): Value {
    return this.builder.node(op, inputs, [{ type, shape }], attributes, domain)[0] as Value;
  }

  unary(op: Unary, x: Value): Value {
    return this.one(op, [x], x.type, x.shape);
  }

  binary(op: Binary, a: Value, b: Value): Value {
    if (a.type !== b.type) throw new ShapeError(`${op}: ${a.type} and ${b.type}`);
    return this.one(op, [a, b], a.type, broadcastShapes(a.shape, b.shape, op));
  }

  compare(op: Comparison, a: Value, b: Value): Value {
    return this.one(op, [a, b], "bool", broadcastShapes(a.shape, b.shape, op));
  }

  add = (a: Value, b: Value): Value => this.binary("Add", a, b);
  sub = (a: Value, b: Value): Value => this.binary("Sub", a, b);
  mul = (a: Value, b: Value): Value => this.binary("Mul", a, b);
  div = (a: Value, b: Value): Value => this.binary("Div", a, b);
  pow = (a: Value, b: Value): Value => this.binary("Pow", a, b);
  neg = (x: Value): Value => this.unary("Neg", x);
  exp = (x: Value): Value => this.unary("Exp", x);
  log = (x: Value): Value => this.unary("Log", x);
  sqrt = (x: Value): Value => this.unary("Sqrt", x);
  sigmoid = (x: Value): Value => this.unary("Sigmoid", x);
  tanh = (x: Value): Value => this.unary("Tanh", x);

  /** A constant of x's type. */
  like(x: Value, value: number): Value {
    switch (x.type) {
      case "float32":
      case "float16":
      case "float64":
      case "int64":
      case "int32":
        return this.builder.scalar(x.type, value);
      default:
        throw new ShapeError(`Constants of type ${x.type} are not supported`);
    }
  }

  scale = (x: Value, factor: number): Value => this.mul(x, this.like(x, factor));

  where(condition: Value, a: Value, b: Value): Value {
    const shape = broadcastShapes(condition.shape, broadcastShapes(a.shape, b.shape, "Where"), "Where");
    return this.one("Where", [condition, a, b], a.type, shape);
  }

  cast(x: Value, type: ElementType): Value {
    const code = { float32: 1, uint8: 2, int8: 3, int32: 6, int64: 7, bool: 9, float16: 10, float64: 11, bfloat16: 16 };
    return x.type === type ? x : this.one("Cast", [x], type, x.shape, { to: code[type] });
  }

  matMul(a: Value, b: Value): Value {
    return this.one("MatMul", [a, b], a.type, matMulShape(a.shape, b.shape));
  }

  /** alpha op(a)·op(b) over the last two axes, where op may transpose them. An operator of com.microsoft. */
  fusedMatMul(a: Value, b: Value, options: { transA?: boolean; transB?: boolean; alpha?: number } = {}): Value {
    const { transA = false, transB = false, alpha = 1 } = options;
    const transposed = (x: Value, swap: boolean): Shape =>
      swap ? [...x.shape.slice(0, -2), ...x.shape.slice(-2).reverse()] : x.shape;
    return this.one(
      "FusedMatMul",
      [a, b],
      a.type,
      matMulShape(transposed(a, transA), transposed(b, transB), "FusedMatMul"),
      { transA: transA ? 1 : undefined, transB: transB ? 1 : undefined, alpha: float(alpha) },
      "com.microsoft",
    );
  }

  /** y = op(a)·op(b) + c over matrices; c broadcasts. */
  gemm(
    a: Value,
    b: Value,
    c: Value | null,
    options: { transA?: boolean; transB?: boolean; alpha?: number } = {},
  ): Value {
    const [m, k1] = options.transA ? [a.shape[1], a.shape[0]] : a.shape;
    const [k2, n] = options.transB ? [b.shape[1], b.shape[0]] : b.shape;
    if (a.shape.length !== 2 || b.shape.length !== 2 || k1 !== k2 || m === undefined || n === undefined) {
      throw new ShapeError(`Gemm: ${showShape(a.shape)} times ${showShape(b.shape)} ${JSON.stringify(options)}`);
    }
    return this.one("Gemm", [a, b, c], a.type, [m, n], {
      transA: options.transA ? 1 : undefined,
      transB: options.transB ? 1 : undefined,
      alpha: options.alpha === undefined ? undefined : float(options.alpha),
    });
  }

  /** Rows of `table` along `axis`: shape[:axis] + indices.shape + shape[axis+1:]. */
  gather(table: Value, indices: Value, axis = 0): Value {
    const at = normalizeAxis(axis, table.shape.length, "Gather");
    const shape = [...table.shape.slice(0, at), ...indices.shape, ...table.shape.slice(at + 1)];
    return this.one("Gather", [table, indices], table.type, shape, { axis: at });
  }

  /**
   * Without `by` the shape is a constant, in which at most one size is inferred. A named size is either that one or has the same
   * name on the same axis of the input. For other shapes pass `by`, an int64 tensor of the shape. Throws ShapeError.
   */
  reshape(x: Value, shape: Shape, by?: Value): Value {
    if (by) return this.one("Reshape", [x, by], x.type, shape);
    if (dimProduct(x.shape) !== dimProduct(shape)) {
      throw new ShapeError(`Reshape: ${showShape(x.shape)} to ${showShape(shape)}`);
    }
    const target = shape.map((dim, i) => (typeof dim === "number" ? dim : dim === x.shape[i] ? 0 : -1));
    if (target.filter((dim) => dim === -1).length > 1) {
      throw new ShapeError(`Reshape: ${showShape(x.shape)} to ${showShape(shape)} has two unknown sizes`);
    }
    if (sameShape(x.shape, shape)) return x;
    return this.one("Reshape", [x, this.builder.constant("int64", [target.length], target)], x.type, shape);
  }

  transpose(x: Value, perm: readonly number[]): Value {
    if (perm.length !== x.shape.length) throw new ShapeError(`Transpose: ${showShape(x.shape)} by [${perm}]`);
    return this.one(
      "Transpose",
      [x],
      x.type,
      perm.map((axis) => x.shape[axis] as Dim),
      { perm },
    );
  }

  unsqueeze(x: Value, axis: number): Value {
    const at = axis < 0 ? axis + x.shape.length + 1 : axis;
    const shape = [...x.shape.slice(0, at), 1, ...x.shape.slice(at)];
    return this.one("Unsqueeze", [x, this.builder.constant("int64", [1], [at])], x.type, shape);
  }

  squeeze(x: Value, axis: number): Value {
    const at = normalizeAxis(axis, x.shape.length, "Squeeze");
    if (x.shape[at] !== 1) throw new ShapeError(`Squeeze: axis ${axis} of ${showShape(x.shape)}`);
    return this.one("Squeeze", [x, this.builder.constant("int64", [1], [at])], x.type, x.shape.toSpliced(at, 1));
  }

  concat(parts: readonly Value[], axis: number): Value {
    const [first] = parts;
    if (!first) throw new ShapeError("Concat needs at least one input");
    const at = normalizeAxis(axis, first.shape.length, "Concat");
    for (const part of parts) {
      if (!sameShape(part.shape.toSpliced(at, 1), first.shape.toSpliced(at, 1))) {
        throw new ShapeError(`Concat: ${showShape(first.shape)} and ${showShape(part.shape)} on axis ${axis}`);
      }
    }
    const sizes = parts.map((part) => part.shape[at] as Dim);
    const total = sizes.every((size) => typeof size === "number")
      ? sizes.reduce<number>((sum, size) => sum + (size as number), 0)
      : sizes.join("+");
    return this.one("Concat", parts, first.type, first.shape.with(at, total), { axis: at });
  }

  split(x: Value, sizes: readonly number[], axis: number): Value[] {
    const at = normalizeAxis(axis, x.shape.length, "Split");
    const total = sizes.reduce((sum, size) => sum + size, 0);
    if (x.shape[at] !== total) throw new ShapeError(`Split: axis ${axis} of ${showShape(x.shape)} into [${sizes}]`);
    const outputs = sizes.map((size) => ({ type: x.type, shape: x.shape.with(at, size) }));
    return this.builder.node("Split", [x, this.builder.constant("int64", [sizes.length], sizes)], outputs, {
      axis: at,
    });
  }

  /** x[start:end] along one axis. */
  slice(x: Value, axis: number, start: number, end: number): Value {
    const at = normalizeAxis(axis, x.shape.length, "Slice");
    const size = x.shape[at];
    if (typeof size === "number" && (start < 0 || end > size || start >= end)) {
      throw new ShapeError(`Slice: [${start}, ${end}) of axis ${axis} of ${showShape(x.shape)}`);
    }
    const list = (value: number): Value => this.builder.constant("int64", [1], [value]);
    return this.one("Slice", [x, list(start), list(end), list(at)], x.type, x.shape.with(at, end - start));
  }

  /**
   * x with `before` and `after` more elements along one axis, numbers or int64 vectors of one; the axis then has `size`. The pads name
   * every axis: ONNX Runtime 1.30 moves a transposition across a Pad as if it had no `axes`, and then cannot run it.
   */
  pad(x: Value, axis: number, before: number | Value, after: number | Value, size: Dim, fill = 0): Value {
    const at = normalizeAxis(axis, x.shape.length, "Pad");
    const vector = (values: readonly number[]): Value => this.builder.constant("int64", [values.length], values);
    const zeros = (count: number): number[] => Array.from({ length: count }, () => 0);
    const [front, back] = [zeros(at), zeros(x.shape.length - at - 1)];
    const parts = [before, after].flatMap((pad) =>
      typeof pad === "number" ? [vector([...front, pad, ...back])] : [vector(front), pad, vector(back)],
    );
    const pads =
      typeof before === "number" && typeof after === "number"
        ? vector([...front, before, ...back, ...front, after, ...back])
        : this.concat(
            parts.filter(({ shape }) => shape[0] !== 0),
            0,
          );
    return this.one("Pad", [x, pads, this.like(x, fill)], x.type, x.shape.with(at, size));
  }

  /** Broadcasts to `shape`. Named sizes that x does not have need `by`, an int64 tensor of the shape. Throws ShapeError. */
  expand(x: Value, shape: Shape, by?: Value): Value {
    if (!sameShape(broadcastShapes(x.shape, shape, "Expand"), shape)) {
      throw new ShapeError(`Expand: ${showShape(x.shape)} to ${showShape(shape)}`);
    }
    if (by) return this.one("Expand", [x, by], x.type, shape);
    // In Expand a 1 keeps the size of x, so a named size that x already has needs no tensor.
    const target = shape.map((dim, i) => {
      if (typeof dim === "number") return dim;
      if (x.shape[i - shape.length + x.shape.length] === dim) return 1;
      throw new ShapeError(`Expand: ${showShape(shape)} needs its shape as a tensor`);
    });
    return this.one("Expand", [x, this.builder.constant("int64", [target.length], target)], x.type, shape);
  }

  softmax(x: Value, axis = -1): Value {
    return this.one("Softmax", [x], x.type, x.shape, { axis: normalizeAxis(axis, x.shape.length, "Softmax") });
  }

  reduce(op: Reduction, x: Value, axes: readonly number[], keepDims = true): Value {
    const at = axes.map((axis) => normalizeAxis(axis, x.shape.length, op));
    const shape = keepDims
      ? x.shape.map((dim, i) => (at.includes(i) ? 1 : dim))
      : x.shape.filter((_, i) => !at.includes(i));
    const list = this.builder.constant("int64", [at.length], at);
    return this.one(op, [x, list], x.type, shape, { keepdims: keepDims ? 1 : 0 });
  }

  sum = (x: Value, axes: readonly number[], keepDims = true): Value => this.reduce("ReduceSum", x, axes, keepDims);
  mean = (x: Value, axes: readonly number[], keepDims = true): Value => this.reduce("ReduceMean", x, axes, keepDims);

  gelu(x: Value, approximate: "none" | "tanh"): Value {
    return this.one("Gelu", [x], x.type, x.shape, { approximate });
  }

  /** The shape as an int64 vector. */
  shapeOf(x: Value): Value {
    return this.one("Shape", [x], "int64", [x.shape.length]);
  }
}
