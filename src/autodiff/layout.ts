/** Gradients of operators that only move elements: each is the operator that moves them back. */
import { at } from "../base/list.js";
import type { Ops } from "../graph/ops.js";
import { normalizeAxis } from "../graph/shape.js";
import type { Value } from "../graph/types.js";
import type { Call, VjpRule } from "./call.js";

/** dx = g in x's shape. */
const reshaped: VjpRule = (call) => [() => call.sizes.reshape(call.g, call.x)];

/** dx = g; the accumulator sums over broadcast axes. */
const Expand: VjpRule = (call) => [() => call.g];

/** dx = g with the inverse permutation. */
const Transpose: VjpRule = (call) => {
  const { op, g, x } = call;
  const perm = call.ints("perm") ?? x.shape.map((_, axis) => x.shape.length - 1 - axis);
  const back = perm.map((_, axis) => perm.indexOf(axis));
  return [() => op.transpose(g, back)];
};

/** Each part's gradient is its slice of g. */
const Concat: VjpRule = (call) => {
  const { op, g, y, node } = call;
  const axis = normalizeAxis(call.int("axis", 0), y.shape.length, "Concat");
  let parts: Value[] | null = null;
  const split = (): Value[] => {
    const inputs = node.inputs.map((_, i) => call.input(i));
    const numeric = inputs.map(({ shape }) => shape[axis]).filter((dim) => typeof dim === "number");
    const sizes =
      numeric.length === inputs.length
        ? op.builder.constant("int64", [numeric.length], numeric)
        : op.concat(
            inputs.map((part) => sizeOf(call, part, axis)),
            0,
          );
    const outputs = inputs.map(({ shape }) => ({ type: g.type, shape: y.shape.with(axis, at(shape, axis)) }));
    return op.builder.node("Split", [g, sizes], outputs, { axis });
  };
  return node.inputs.map((_, i) => () => {
    parts ??= split();
    return parts[i] ?? call.refuse(`part ${i} is missing`);
  });
};

/** dx = the parts' gradients, concatenated. */
const Split: VjpRule = (call) => [
  () => {
    const { op, node, sizes } = call;
    const parts = node.outputs.map((part, i) => call.gradient(i) ?? sizes.zeros(part));
    const axis = normalizeAxis(call.int("axis", 0), call.x.shape.length, "Split");
    const shape = call.x.shape;
    return op.one("Concat", parts, call.x.type, shape, { axis });
  },
];

/** dx = g padded with zeros. Steps must be 1. */
const Slice: VjpRule = (call) => [
  () => {
    const { x, y } = call;
    const starts = call.constant(1) ?? call.refuse("its starts are computed");
    const ends = call.constant(2) ?? call.refuse("its ends are computed");
    const axes = call.constant(3) ?? starts.map((_, i) => i);
    if ((call.constant(4) ?? []).some((step) => step !== 1)) call.refuse("it has steps");
    return axes.reduceRight((gradient, given, i) => {
      const axis = given < 0 ? given + x.shape.length : given;
      return padded(call, gradient, axis, at(starts, i), at(ends, i), y);
    }, call.g);
  },
];

/** g padded with zeros on `axis` to the size of x. */
function padded(call: Call, g: Value, axis: number, start: number, end: number, y: Value): Value {
  const { op, x } = call;
  const size = at(x.shape, axis);
  const zero = op.like(x, 0);
  const on = op.builder.constant("int64", [1], [axis]);
  const shape = g.shape.with(axis, size);
  if (typeof size === "number") {
    const clamp = (place: number): number => Math.min(Math.max(place < 0 ? place + size : place, 0), size);
    const pads = op.builder.constant("int64", [2], [clamp(start), size - clamp(end)]);
    return op.one("Pad", [g, pads, zero, on], g.type, shape);
  }
  // A size known only at run time: what is not before the slice is after it.
  const whole = sizeOf(call, x, axis);
  const kept = op.slice(op.shapeOf(y), 0, axis, axis + 1);
  const offset = op.builder.constant("int64", [1], [start]);
  const before = op.binary(
    "Max",
    op.binary("Min", start < 0 ? op.add(whole, offset) : offset, whole),
    op.like(whole, 0),
  );
  const after = op.sub(op.sub(whole, kept), before);
  return op.one("Pad", [g, op.concat([before, after], 0), zero, on], g.type, shape);
}

/** dx = g without the padding. Only for constant padding that does not crop. */
const Pad: VjpRule = (call) => [
  () => {
    const { op, x, g } = call;
    const pads = call.constant(1) ?? call.refuse("its pads are computed");
    const axes = call.constant(3) ?? x.shape.map((_, axis) => axis);
    if (call.string("mode", "constant") !== "constant") call.refuse("it repeats elements");
    if (pads.some((size) => size < 0)) call.refuse("it crops");
    return axes.reduce((gradient, given, i) => {
      const axis = given < 0 ? given + x.shape.length : given;
      const [before, after] = [at(pads, i), at(pads, i + axes.length)];
      if (before === 0 && after === 0) return gradient;
      return cut(op, gradient, axis, before, after, x);
    }, g);
  },
];

function cut(op: Ops, g: Value, axis: number, before: number, after: number, x: Value): Value {
  const list = (value: number): Value => op.builder.constant("int64", [1], [value]);
  const end = after === 0 ? 2 ** 31 - 1 : -after;
  return op.one("Slice", [g, list(before), list(end), list(axis)], g.type, g.shape.with(axis, at(x.shape, axis)));
}

function sizeOf(call: Call, x: Value, axis: number): Value {
  return call.op.slice(call.sizes.of(x), 0, axis, axis + 1);
}

export const layout = {
  Reshape: reshaped,
  Flatten: reshaped,
  Unsqueeze: reshaped,
  Squeeze: reshaped,
  Expand,
  Transpose,
  Concat,
  Split,
  Slice,
  Pad,
} satisfies Record<string, VjpRule>;
