/** Gradients of operators that only move elements: each is the operator that moves them back. */
import { at } from "../base/list.js";
import type { Ops } from "../graph/ops.js";
import { normalizeAxis } from "../graph/shape.js";
import type { Dim, Value } from "../graph/types.js";
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

/** dx = g padded with zeros, which also lie between its elements where the slice has steps. */
const Slice: VjpRule = (call) => [
  () => {
    const { x, y } = call;
    const starts = call.constant(1) ?? call.refuse("its starts are computed");
    const ends = call.constant(2) ?? call.refuse("its ends are computed");
    const axes = call.constant(3) ?? starts.map((_, i) => i);
    const steps = call.constant(4);
    return axes.reduceRight((gradient, given, i) => {
      const axis = given < 0 ? given + x.shape.length : given;
      const [start, end, step] = [at(starts, i), at(ends, i), steps?.[i] ?? 1];
      return step === 1
        ? padded(call, gradient, axis, start, end, y)
        : spread(call, gradient, axis, start, step, at(y.shape, axis));
    }, call.g);
  },
];

/** g padded with zeros on `axis` to the size of x. */
function padded(call: Call, g: Value, axis: number, start: number, end: number, y: Value): Value {
  const { op, x } = call;
  const size = at(x.shape, axis);
  if (typeof size === "number") {
    const clamp = (place: number): number => Math.min(Math.max(place < 0 ? place + size : place, 0), size);
    return op.pad(g, axis, clamp(start), size - clamp(end), size);
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
  return op.pad(g, axis, before, op.sub(op.sub(whole, kept), before), size);
}

/** The elements of g at start, start + step, ... of `axis` of x, and zeros elsewhere. `count`: how many there are. */
function spread(call: Call, g: Value, axis: number, start: number, step: number, count: Dim): Value {
  const { op, x } = call;
  const size = at(x.shape, axis);
  if (typeof size !== "number" || typeof count !== "number") return call.refuse("it has steps over an unknown size");
  if (count === 0) return op.pad(g, axis, 0, size, size);
  const origin = Math.min(Math.max(start < 0 ? start + size : start, 0), step < 0 ? size - 1 : size);
  const ordered = step < 0 ? reversed(op, g, axis) : g;
  const stride = Math.abs(step);
  const first = step < 0 ? origin + (count - 1) * step : origin;
  const length = (count - 1) * stride + 1;
  const apart = op.pad(op.unsqueeze(ordered, axis + 1), axis + 1, 0, stride - 1, stride);
  const joined = op.reshape(apart, g.shape.with(axis, count * stride));
  return op.pad(op.slice(joined, axis, 0, length), axis, first, size - first - length, size);
}

function reversed(op: Ops, x: Value, axis: number): Value {
  const list = (value: number): Value => op.builder.constant("int64", [1], [value]);
  return op.one("Slice", [x, list(-1), list(-(2 ** 31)), list(axis), list(-1)], x.type, x.shape);
}

/** dx = the sum of g over the copies. */
const Tile: VjpRule = (call) => [
  () => {
    const { op, x, g } = call;
    const repeats = call.constant(1) ?? call.refuse("its repeats are computed");
    const sizes = x.shape.flatMap((dim, axis) => (repeats[axis] === 1 ? [dim] : [at(repeats, axis), dim]));
    const copies = x.shape.flatMap((_, axis) => (repeats[axis] === 1 ? [false] : [true, false]));
    const axes = copies.flatMap((isCopies, axis) => (isCopies ? [axis] : []));
    return axes.length === 0 ? g : op.sum(op.reshape(g, sizes), axes, false);
  },
];

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
  Tile,
  Pad,
} satisfies Record<string, VjpRule>;
