/** Gradients of convolutions and pools. Spatial sizes must be numbers; the batch may be named. */
import { at } from "../base/list.js";
import type { Ops } from "../graph/ops.js";
import { dimProduct } from "../graph/shape.js";
import type { Dim, Value } from "../graph/types.js";
import type { Call, VjpRule } from "./call.js";

interface Geometry {
  readonly kernel: readonly number[];
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  /** At the start of each axis, then at the end of each. */
  readonly pads: readonly number[];
  readonly group: number;
}

function geometry(call: Call, kernel: readonly number[]): Geometry {
  const rank = kernel.length;
  const auto = call.string("auto_pad", "NOTSET");
  if (auto !== "NOTSET" && auto !== "VALID") call.refuse(`auto_pad ${auto} hides its pads`);
  return {
    kernel,
    strides: call.ints("strides") ?? kernel.map(() => 1),
    dilations: call.ints("dilations") ?? kernel.map(() => 1),
    pads: (auto === "VALID" ? null : call.ints("pads")) ?? Array.from({ length: 2 * rank }, () => 0),
    group: call.int("group", 1),
  };
}

function spatial(call: Call, x: Value): number[] {
  return x.shape.slice(2).map((dim) => (typeof dim === "number" ? dim : call.refuse(`the size ${dim} is not known`)));
}

/** The padding that a transposed convolution adds at the end so that its result has `size`. */
function outputPadding(size: readonly number[], small: readonly number[], window: Geometry): number[] {
  return size.map((full, i) => {
    const [stride, dilation, kernel] = [at(window.strides, i), at(window.dilations, i), at(window.kernel, i)];
    const pads = at(window.pads, i) + at(window.pads, i + size.length);
    return full - ((at(small, i) - 1) * stride + (kernel - 1) * dilation + 1 - pads);
  });
}

const shared = ({ strides, dilations, pads, group }: Geometry) => ({ strides, dilations, pads, group });

/** y = w * x + b: dx is the transposed convolution of g by w, dw the convolution of x by g, db = Σ g. */
const Conv: VjpRule = (call) => {
  const { op, g, x } = call;
  const w = call.input(1);
  const window = geometry(call, spatial(call, w));
  const extra = outputPadding(spatial(call, x), spatial(call, g), window);
  return [
    () => op.one("ConvTranspose", [g, w], g.type, x.shape, { ...shared(window), output_padding: extra }),
    () => kernelGradient(call, x, g, w, window),
    () => channelSum(op, g),
  ];
};

/** The transpose of a convolution: dx is the convolution of g by w; dw that of g by x; db = Σ g. */
const ConvTranspose: VjpRule = (call) => {
  const { op, g, x } = call;
  const w = call.input(1);
  if (call.ints("output_shape")) call.refuse("output_shape hides its pads");
  const window = geometry(call, spatial(call, w));
  return [
    () => op.one("Conv", [g, w], g.type, x.shape, shared(window)),
    () => kernelGradient(call, g, x, w, window),
    () => channelSum(op, g),
  ];
};

function channelSum(op: Ops, g: Value): Value {
  const axes = g.shape.map((_, axis) => axis).filter((axis) => axis !== 1);
  return op.sum(g, axes, false);
}

/**
 * dw[m, c, k] = Σ over n, o of wide[n, c, o stride + k dilation - pad] narrow[n, m, o]: a convolution with batch and
 * channels swapped, and strides and dilations swapped. Groups become groups of that convolution.
 */
function kernelGradient(call: Call, wide: Value, narrow: Value, w: Value, window: Geometry): Value {
  const { op } = call;
  const [batch = 1, channels] = wide.shape;
  const [, outputs] = narrow.shape;
  if (typeof channels !== "number" || typeof outputs !== "number") call.refuse("its channels are not known");
  const inGroup = channels / window.group;
  const sizes = spatial(call, wide);
  const small = spatial(call, narrow);
  const axes = sizes.map((_, i) => i);
  const joined = dimProduct([window.group, batch]);
  const grouped = (value: Value, count: number, rest: readonly number[]): Value =>
    reshape(op, value, [batch, window.group, count, ...rest]);
  // [batch, group, channels, ...] to [channels, group * batch, ...]
  const images = reshape(op, op.transpose(grouped(wide, inGroup, sizes), [2, 1, 0, ...axes.map((axis) => axis + 3)]), [
    inGroup,
    joined,
    ...sizes,
  ]);
  // [batch, group * outputs, ...] to [group * outputs, batch, ...]
  const kernels = op.transpose(narrow, [1, 0, ...axes.map((axis) => axis + 2)]);
  const reach = sizes.map((size, i) => {
    const pads = at(window.pads, i) + at(window.pads, i + sizes.length);
    const covered = (at(small, i) - 1) * at(window.strides, i) + 1;
    return Math.floor((size + pads - covered) / at(window.dilations, i)) + 1;
  });
  const product = op.one("Conv", [images, kernels], wide.type, [inGroup, outputs, ...reach], {
    strides: window.dilations,
    dilations: window.strides,
    pads: window.pads,
    group: window.group,
  });
  // A stride that does not divide evenly reaches past the kernel.
  const cropped = window.kernel.reduce(
    (value, size, i) => (reach[i] === size ? value : op.slice(value, i + 2, 0, size)),
    product,
  );
  const swapped = op.transpose(cropped, [1, 0, ...axes.map((axis) => axis + 2)]);
  return reshape(op, swapped, w.shape);
}

/** Reshape with at most one named size. */
function reshape(op: Ops, x: Value, shape: readonly Dim[]): Value {
  const target = shape.map((dim) => (typeof dim === "number" ? dim : -1));
  return op.reshape(x, shape, op.builder.constant("int64", [target.length], target));
}

/** dx[i] = g where i was the largest. The indices come from the node's second output, or from a second MaxPool. */
const MaxPool: VjpRule = (call) => [
  () => {
    const { op, g, x, y, node, sizes } = call;
    if (call.int("storage_order", 0) !== 0) call.refuse("its indices are column-major");
    const computed = (): Value | undefined =>
      op.builder.node("MaxPool", [x], [unnamed(y), { type: "int64", shape: y.shape }], node.attributes)[1];
    const indices = call.output(1) ?? computed() ?? call.refuse("it has no indices");
    const flat = op.builder.constant("int64", [1], [-1]);
    const total = dimProduct(x.shape);
    const zeros = op.reshape(sizes.zeros(x), [total], flat);
    const places = op.reshape(indices, [dimProduct(y.shape)], flat);
    const updates = op.reshape(g, [dimProduct(y.shape)], flat);
    const sum = op.one("ScatterElements", [zeros, places, updates], x.type, [total], { axis: 0, reduction: "add" });
    return sizes.reshape(sum, x);
  },
];

const unnamed = ({ type, shape }: Pick<Value, "type" | "shape">) => ({ type, shape });

/** dx = g / (elements under the window), spread over each window: a transposed convolution by ones, channel by channel. */
const AveragePool: VjpRule = (call) => [
  () => {
    const { op, g, x } = call;
    const kernel = call.ints("kernel_shape") ?? call.refuse("it has no kernel_shape");
    const stated = geometry(call, kernel);
    const window = rounded(call, stated);
    const channels = x.shape[1];
    if (typeof channels !== "number") return call.refuse("its channels are not known");
    const ones = filled(op, x, [channels, 1, ...kernel]);
    const share = op.div(g, windowCounts(call, stated, spatial(call, x), spatial(call, g)));
    const extra = outputPadding(spatial(call, x), spatial(call, g), window);
    const attributes = { ...shared(window), group: channels, output_padding: extra };
    return op.one("ConvTranspose", [share, ones], g.type, x.shape, attributes);
  },
];

/** With ceil_mode the last window of an axis may reach past the padding: the window with as much more padding at the end. */
function rounded(call: Call, window: Geometry): Geometry {
  if (call.int("ceil_mode", 0) === 0) return window;
  const [sizes, places] = [spatial(call, call.x), spatial(call, call.g)];
  const end = sizes.map((size, i) => {
    const reach =
      (at(places, i) - 1) * at(window.strides, i) + (at(window.kernel, i) - 1) * at(window.dilations, i) + 1;
    return Math.max(at(window.pads, i + sizes.length), reach - size - at(window.pads, i));
  });
  return { ...window, pads: [...window.pads.slice(0, sizes.length), ...end] };
}

/** How many elements each output position averages: [1, 1, ...positions]. */
function windowCounts(call: Call, window: Geometry, sizes: readonly number[], places: readonly number[]): Value {
  const withPads = call.int("count_include_pad", 0) !== 0;
  const counts = places.map((count, i) =>
    Array.from({ length: count }, (_, place) => {
      const first = place * at(window.strides, i) - at(window.pads, i);
      const reached = Array.from({ length: at(window.kernel, i) }, (_, k) => first + k * at(window.dilations, i));
      const padding = (side: number): number => (withPads ? at(window.pads, i + side) : 0);
      return reached.filter((x) => x >= -padding(0) && x < at(sizes, i) + padding(sizes.length)).length;
    }),
  );
  const product = counts.reduce<number[]>((all, axis) => all.flatMap((a) => axis.map((b) => a * b)), [1]);
  return constant(call, [1, 1, ...places], product);
}

function constant(call: Call, shape: readonly number[], data: readonly number[]): Value {
  const { type } = call.x;
  if (type !== "float32" && type !== "float64") return call.refuse(`it averages ${type}`);
  return call.op.builder.constant(type, shape, data);
}

function filled(op: Ops, x: Value, shape: readonly number[]): Value {
  return op.expand(op.like(x, 1), shape);
}

/** y = mean of all positions: dx = g / positions, broadcast. */
const GlobalAveragePool: VjpRule = (call) => [
  () => {
    const axes = call.x.shape.slice(2).map((_, i) => i + 2);
    return call.sizes.expand(call.op.div(call.g, call.sizes.count(call.x, axes)), call.x);
  },
];

export const convolution = { Conv, ConvTranspose, MaxPool, AveragePool, GlobalAveragePool } satisfies Record<
  string,
  VjpRule
>;
