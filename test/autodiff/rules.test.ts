/** Every rule of the table against central differences: float64 to 1e-6, float32 with its bound where no float64 kernel exists. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type DiffOp, vjp } from "../../src/autodiff/vjp.js";
import { float } from "../../src/graph/builder.js";
import type { Ops } from "../../src/graph/ops.js";
import type { Shape, Value } from "../../src/graph/types.js";
import { type CaseInput, checkGradient, type GradientCase, type Range } from "../support/differences.js";

const matrix: CaseInput = { shape: [2, 3] };
const within = (...range: Range): CaseInput => ({ shape: [2, 3], range });
/** Curved: truncation and rounding meet at about 1e-3. Linear: a large step costs nothing. */
const curved = { step: 2e-2, bound: 2e-3 };
const linear = { step: 0.5, bound: 1e-5 };
const away: CaseInput = { shape: [2, 3], values: [-1.5, 0.4, 1.25, -0.3, 0.9, 1.8] };

const unary = (name: Parameters<Ops["unary"]>[0], input = matrix, float32 = false): GradientCase[] => [
  { inputs: [input], build: (op, [x]) => op.unary(name, x as Value), ...(float32 ? { float32: curved } : {}) },
];

type Two = (op: Ops, a: Value, b: Value) => Value;
/** The same shape, a broadcast on either side, and named sizes. */
function binary(build: Two, a: Range = [-2, 2], b: Range = [-2, 2]): GradientCase[] {
  const shapes: [Shape, Shape, Record<string, number>?][] = [
    [
      [2, 3],
      [2, 3],
    ],
    [
      [2, 3],
      [1, 3],
    ],
    [[3], [2, 1, 3]],
    [["n", 3], [], { n: 2 }],
    [["n", 1, 3], ["m", 1], { n: 2, m: 2 }],
  ];
  return shapes.map(([left, right, sizes]) => ({
    title: `${JSON.stringify(left)} and ${JSON.stringify(right)}`,
    inputs: [
      { shape: left, range: a },
      { shape: right, range: b },
    ],
    build: (op, [x, y]) => build(op, x as Value, y as Value),
    ...(sizes ? { sizes } : {}),
  }));
}

const one = (
  title: string,
  inputs: CaseInput[],
  build: (op: Ops, ...inputs: Value[]) => Value | Value[],
  rest: Partial<GradientCase> = {},
): GradientCase => ({ title, inputs, build: (op, values) => build(op, ...values), ...rest });

const list = (op: Ops, ...data: number[]): Value => op.builder.constant("int64", [data.length], data);

const matMul = (title: string, a: Shape, b: Shape, y: Shape, sizes: Record<string, number> = {}): GradientCase =>
  one(title, [{ shape: a }, { shape: b }], (op, x, w) => op.one("MatMul", [x as Value, w as Value], "float64", y), {
    sizes,
  });

const gemms = [false, true].flatMap((transA) =>
  [false, true].map((transB) =>
    one(
      `transA ${transA}, transB ${transB}`,
      [{ shape: transA ? [2, 4] : [4, 2] }, { shape: transB ? [3, 2] : [2, 3] }, { shape: [3] }],
      (op, a, b, c) => op.gemm(a as Value, b as Value, c as Value, { transA, transB, alpha: 1.5 }),
    ),
  ),
);

const reduce = (name: "ReduceSum" | "ReduceMean" | "ReduceMax"): GradientCase[] => [
  one("last axis", [{ shape: [2, 3, 2] }], (op, x) => op.reduce(name, x as Value, [-1])),
  one("two axes, dropped", [{ shape: [2, 3, 2] }], (op, x) => op.reduce(name, x as Value, [2, 0], false)),
  one("a named axis", [{ shape: ["n", 3] }], (op, x) => op.reduce(name, x as Value, [0], false), { sizes: { n: 4 } }),
  one("all", [{ shape: [2, 3] }], (op, x) => op.one(name, [x as Value], "float64", [1, 1])),
];

const softmaxes = (name: "Softmax" | "LogSoftmax"): GradientCase[] => [
  one("last axis", [{ shape: [2, 4] }], (op, x) => op.one(name, [x as Value], "float64", [2, 4], { axis: -1 })),
  one("first axis", [{ shape: [3, 2] }], (op, x) => op.one(name, [x as Value], "float64", [3, 2], { axis: 0 })),
];

const normal = (
  name: string,
  inputs: CaseInput[],
  extra: number,
  shape: Shape = [2, 4],
  attributes: Parameters<Ops["one"]>[4] = {},
  float32 = extra > 0 ? curved : null, // what a kernel saves is float32
): GradientCase => {
  const type = float32 ? "float32" : "float64";
  const build = (op: Ops, ...values: Value[]): Value => {
    const stats = Array.from({ length: extra }, () => ({ type: "float32" as const, shape: [2, 1] }));
    return op.builder.node(name, values, [{ type, shape }, ...stats], {
      epsilon: float(1e-3),
      ...attributes,
    })[0] as Value;
  };
  return one(`${extra} saved`, inputs, build, float32 ? { float32 } : {});
};

const conv = (
  title: string,
  name: "Conv" | "ConvTranspose",
  [x, w, y]: [Shape, Shape, Shape],
  attributes: Parameters<Ops["one"]>[4],
  sizes: Record<string, number> = {},
): GradientCase =>
  one(
    title,
    [{ shape: x }, { shape: w }, { shape: [Number(y[1])] }],
    (op, ...values) => op.one(name, values, "float32", y, attributes),
    { float32: { step: 0.5, bound: 1e-4 }, sizes },
  );

/** Values of which no two are near: the largest of a window stays the largest. */
const spaced = (count: number): number[] => Array.from({ length: count }, (_, i) => ((i * 7) % count) * 0.25 - 2);

const outer: CaseInput = { shape: [2, 3], values: [-3.5, 0.4, 1.25, -0.6, 2.1, 4.2] };
const cornered = { step: 0.1, bound: 1e-5 };
const sixth = { alpha: float(1 / 6), beta: float(0.5) };

/** An activation with float32 kernels alone, on both sides of its corners. */
const activation = (
  title: string,
  name: string,
  attributes: Parameters<Ops["one"]>[4],
  float32: { readonly step: number; readonly bound: number },
): GradientCase =>
  one(title, [outer], (op, x) => op.one(name, [x as Value], "float32", [2, 3], attributes), {
    float32: { ...float32, step: Math.min(float32.step, 0.3) },
  });

const clip = (op: Ops, x: Value, low: Value | null, high: Value | null): Value =>
  op.one("Clip", [x, low, high], x.type, x.shape);

const resize = (
  title: string,
  [from, to]: readonly [Shape, Shape],
  inputs: { readonly scales?: readonly number[]; readonly sizes?: readonly number[] },
  attributes: Parameters<Ops["one"]>[4],
  sizes: Record<string, number> = {},
): GradientCase =>
  one(
    title,
    [{ shape: from }],
    (op, x) => {
      const scales = inputs.scales ? op.builder.constant("float32", [inputs.scales.length], inputs.scales) : null;
      const target = inputs.sizes ? list(op, ...inputs.sizes) : null;
      return op.one("Resize", [x as Value, null, scales, target], "float32", to, attributes);
    },
    { float32: { step: 0.5, bound: 1e-4 }, sizes },
  );

const image = (...places: number[]): Shape => [1, 2, ...places];

const averagePool = (
  title: string,
  [from, to]: readonly [Shape, Shape],
  attributes: Parameters<Ops["one"]>[4],
): GradientCase =>
  one(title, [{ shape: from }], (op, x) => op.one("AveragePool", [x as Value], "float32", to, attributes), {
    float32: { step: 0.5, bound: 1e-4 },
  });

const cases: { readonly [K in DiffOp]: readonly GradientCase[] } = {
  Identity: unary("Identity"),
  Cast: [
    one("there and back", [matrix], (op, x) => op.cast(op.cast(op.mul(x as Value, x as Value), "float32"), "float64"), {
      float32: { step: 1e-2, bound: 1e-3 },
    }),
    one("past whole numbers nothing flows", [away], (op, x) =>
      op.mul(x as Value, op.cast(op.cast(x as Value, "int64"), "float64")),
    ),
  ],
  Neg: unary("Neg"),
  Exp: unary("Exp"),
  Log: unary("Log", within(0.5, 3)),
  Sqrt: unary("Sqrt", within(0.5, 3)),
  Reciprocal: unary("Reciprocal", within(0.5, 3)),
  Abs: unary("Abs", away),
  Sin: unary("Sin"),
  Cos: unary("Cos"),
  Sigmoid: unary("Sigmoid"),
  Tanh: unary("Tanh"),
  Erf: unary("Erf", matrix, true),
  Relu: unary("Relu", away),
  Softplus: unary("Softplus", matrix, true),
  Gelu: [
    one("exact", [matrix], (op, x) => op.gelu(x as Value, "none"), { float32: curved }),
    one("by tanh", [matrix], (op, x) => op.gelu(x as Value, "tanh"), { float32: curved }),
  ],
  QuickGelu: [1, 1.702].map((alpha) =>
    one(
      `alpha ${alpha}`,
      [matrix],
      (op, x) => op.one("QuickGelu", [x as Value], "float32", [2, 3], { alpha: float(alpha) }, "com.microsoft"),
      {
        float32: curved,
      },
    ),
  ),
  LeakyRelu: [0.01, 0.3].map((alpha) => activation(`alpha ${alpha}`, "LeakyRelu", { alpha: float(alpha) }, linear)),
  PRelu: [
    one(
      "a slope for each channel",
      [{ shape: ["n", 2, 2], values: [-1.5, 0.4, 1.25, -0.6, 0.9, 1.8, -0.7, -1.2] }, { shape: [2, 1] }],
      (op, x, w) => op.one("PRelu", [x as Value, w as Value], "float32", ["n", 2, 2]),
      { float32: { step: 0.1, bound: 1e-4 }, sizes: { n: 2 } },
    ),
  ],
  Elu: [activation("alpha 0.7", "Elu", { alpha: float(0.7) }, curved)],
  Clip: [
    one("both bounds", [away], (op, x) => clip(op, x as Value, op.like(x as Value, -1), op.like(x as Value, 1))),
    one("one bound", [away], (op, x) => clip(op, x as Value, null, op.like(x as Value, 1))),
    one("no bound", [away], (op, x) => clip(op, x as Value, null, null)),
  ],
  HardSigmoid: [
    activation("ONNX's slope", "HardSigmoid", {}, cornered),
    activation("PyTorch's", "HardSigmoid", sixth, cornered),
  ],
  HardSwish: [activation("all three parts", "HardSwish", {}, { step: 1e-2, bound: 2e-3 })],
  Mish: [one("plain", [matrix], (op, x) => op.one("Mish", [x as Value], "float32", [2, 3]), { float32: curved })],
  Add: binary((op, a, b) => op.add(a, b)),
  Sub: binary((op, a, b) => op.sub(a, b)),
  Mul: binary((op, a, b) => op.mul(a, b)),
  Div: binary((op, a, b) => op.div(a, b), [-2, 2], [0.5, 2]),
  Pow: binary((op, a, b) => op.pow(a, b), [0.5, 2], [-2, 2]),
  Max: binary((op, a, b) => op.binary("Max", a, b)),
  Min: binary((op, a, b) => op.binary("Min", a, b)),
  Where: [
    one("by a comparison", [matrix, { shape: [1, 3] }], (op, a, b) =>
      op.where(
        op.compare("Greater", op.add(a as Value, op.scale(b as Value, 0)), op.like(a as Value, 0.1)),
        a as Value,
        b as Value,
      ),
    ),
  ],
  MatMul: [
    matMul("matrices", [2, 3], [3, 2], [2, 2]),
    matMul("batches", [2, 2, 3], [2, 3, 2], [2, 2, 2]),
    matMul("one right matrix", ["n", 2, 3], [3, 2], ["n", 2, 2], { n: 2 }),
    matMul("one left matrix", [2, 3], [2, 3, 2], [2, 2, 2]),
    matMul("broadcast batches", [2, 1, 2, 3], [3, 3, 2], [2, 3, 2, 2]),
    matMul("row vector", [3], [2, 3, 2], [2, 2]),
    matMul("column vector", [2, 2, 3], [3], [2, 2]),
  ],
  Gemm: [
    ...gemms,
    one("no c", [{ shape: ["n", 2] }, { shape: [2, 3] }], (op, a, b) => op.gemm(a as Value, b as Value, null), {
      sizes: { n: 3 },
    }),
    one("beta", [{ shape: [2, 2] }, { shape: [2, 3] }, { shape: [2, 1] }], (op, a, b, c) =>
      op.one("Gemm", [a as Value, b as Value, c as Value], "float64", [2, 3], { beta: float(0.5) }),
    ),
  ],
  ReduceSum: [
    ...reduce("ReduceSum"),
    one("no axes and told so", [matrix], (op, x) =>
      op.one("ReduceSum", [x as Value], "float64", [2, 3], { noop_with_empty_axes: 1 }),
    ),
  ],
  ReduceMean: reduce("ReduceMean"),
  ReduceMax: reduce("ReduceMax"),
  Softmax: softmaxes("Softmax"),
  LogSoftmax: softmaxes("LogSoftmax"),
  Reshape: [
    one("known", [{ shape: [2, 3] }], (op, x) => op.reshape(x as Value, [3, 2])),
    one(
      "two names",
      [{ shape: ["n", "m", 2] }],
      (op, x) => op.reshape(op.mul(x as Value, x as Value), ["m*n", 2], list(op, -1, 2)),
      { sizes: { n: 2, m: 3, "m*n": 6 } },
    ),
  ],
  Flatten: [
    one("axis 1", [{ shape: [2, 3, 2] }], (op, x) => op.one("Flatten", [x as Value], "float64", [2, 6], { axis: 1 })),
  ],
  Unsqueeze: [one("middle", [matrix], (op, x) => op.unsqueeze(x as Value, 1))],
  Squeeze: [one("middle", [{ shape: ["n", 1, 3] }], (op, x) => op.squeeze(x as Value, 1), { sizes: { n: 2 } })],
  Expand: [
    one("new and stretched axes", [{ shape: [3, 1] }], (op, x) => op.expand(x as Value, [2, 3, 2])),
    one(
      "by a tensor",
      [{ shape: [1, 3] }, { shape: ["n"], fixed: true }],
      (op, x, y) => op.expand(x as Value, ["n", 3], op.concat([op.shapeOf(y as Value), list(op, 3)], 0)),
      { sizes: { n: 2 } },
    ),
  ],
  Transpose: [
    one("three axes", [{ shape: [2, 3, 2] }], (op, x) => op.transpose(x as Value, [1, 2, 0])),
    one("no perm", [{ shape: [2, 3] }], (op, x) => op.one("Transpose", [x as Value], "float64", [3, 2])),
  ],
  Concat: [
    one("known", [{ shape: [2, 1] }, { shape: [2, 3] }], (op, ...x) => op.concat(x, -1)),
    one("named", [{ shape: ["n", 2] }, { shape: ["m", 2] }], (op, ...x) => op.concat(x, 0), {
      sizes: { n: 2, m: 3, "n+m": 5 },
    }),
    one("one of them fixed", [{ shape: [2, 1] }, { shape: [2, 3], fixed: true }], (op, ...x) => op.concat(x, 1)),
  ],
  Split: [
    one("all parts", [{ shape: [2, 5] }], (op, x) => op.split(x as Value, [2, 3], 1)),
    one("one part used", [{ shape: ["n", 5] }], (op, x) => op.split(x as Value, [1, 4], 1)[1] as Value, {
      sizes: { n: 2 },
    }),
  ],
  Slice: [
    one("middle", [{ shape: [4, 3] }], (op, x) => op.slice(x as Value, 0, 1, 3)),
    one("of a named axis", [{ shape: ["n", 3] }], (op, x) => op.slice(x as Value, 0, 1, 3), { sizes: { n: 5 } }),
    one(
      "two axes, counted from the end",
      [{ shape: ["n", 4] }],
      (op, x) =>
        op.one("Slice", [x as Value, list(op, -3, -3), list(op, 2 ** 31, -1), list(op, 0, 1)], "float64", [3, 2]),
      { sizes: { n: 5 } },
    ),
    one("every third, to the end", [{ shape: [8, 2] }], (op, x) =>
      op.one("Slice", [x as Value, list(op, 1), list(op, 2 ** 31), list(op, 0), list(op, 3)], "float64", [3, 2]),
    ),
    one("backwards, and every second of another axis", [{ shape: [2, 5, 4] }], (op, x) => {
      const inputs = [list(op, -2, 0), list(op, -(2 ** 31), 3), list(op, 1, -1), list(op, -2, 2)];
      return op.one("Slice", [x as Value, ...inputs], "float64", [2, 2, 2]);
    }),
  ],
  Tile: [
    one("two of three axes", [{ shape: [2, 3, 2] }], (op, x) =>
      op.one("Tile", [x as Value, list(op, 2, 1, 3)], "float64", [4, 3, 6]),
    ),
  ],
  Pad: [
    one("both sides", [{ shape: [2, 3] }], (op, x) =>
      op.one("Pad", [x as Value, list(op, 1, 0, 2, 1)], "float64", [5, 4]),
    ),
  ],
  Gather: [
    one("rows, some twice", [{ shape: [4, 3] }, { shape: [2, 2], ints: [1, 3, 1, -4] }], (op, x, i) =>
      op.gather(x as Value, i as Value),
    ),
    one("columns", [{ shape: [2, 4] }, { shape: [3], ints: [1, 3, 1] }], (op, x, i) =>
      op.gather(x as Value, i as Value, 1),
    ),
    one(
      "columns by a table",
      [{ shape: ["n", 4, 2] }, { shape: [2, 2], ints: [1, 3, 1, 0] }],
      (op, x, i) => op.gather(x as Value, i as Value, 1),
      { sizes: { n: 2 } },
    ),
    one("one row", [{ shape: [4, 3] }, { shape: [], ints: [2] }], (op, x, i) => op.gather(x as Value, i as Value)),
    one(
      "named rows",
      [{ shape: ["n", 3] }, { shape: ["k"], ints: [1, 1, 0] }],
      (op, x, i) => op.gather(x as Value, i as Value),
      { sizes: { n: 3, k: 3 } },
    ),
    one("of a vector", [{ shape: [4] }, { shape: [3], ints: [1, 3, 1] }], (op, x, i) =>
      op.gather(x as Value, i as Value),
    ),
  ],
  GatherElements: [
    one("last axis, one twice", [{ shape: [2, 3] }, { shape: [2, 2], ints: [0, 0, 2, 1] }], (op, x, i) =>
      op.one("GatherElements", [x as Value, i as Value], "float64", [2, 2], { axis: 1 }),
    ),
  ],
  GatherND: [
    one("an element each, some twice", [{ shape: [2, 3] }, { shape: [3, 2], ints: [0, 1, 1, 2, 0, 1] }], (op, x, i) =>
      op.one("GatherND", [x as Value, i as Value], "float64", [3]),
    ),
    one(
      "rows of a named axis, counted from the end",
      [{ shape: ["n", 3, 2] }, { shape: [2, 2, 1], ints: [0, -1, 1, -1] }],
      (op, x, i) => op.one("GatherND", [x as Value, i as Value], "float64", [2, 2, 3, 2]),
      { sizes: { n: 3 } },
    ),
    one(
      "behind a shared axis",
      [{ shape: ["n", 3, 2] }, { shape: ["n", 2, 1], ints: [0, 2, 1, 1] }],
      (op, x, i) => op.one("GatherND", [x as Value, i as Value], "float64", ["n", 2, 2], { batch_dims: 1 }),
      { sizes: { n: 2 } },
    ),
  ],
  ScatterElements: [
    one("adding", [{ shape: [2, 3] }, { shape: [2, 2], ints: [0, 0, 2, 1] }, { shape: [2, 2] }], (op, x, i, u) =>
      op.one("ScatterElements", [x as Value, i as Value, u as Value], "float64", [2, 3], { axis: 1, reduction: "add" }),
    ),
  ],
  ScatterND: [
    one("adding", [{ shape: [3, 2] }, { shape: [2, 1], ints: [2, 0] }, { shape: [2, 2] }], (op, x, i, u) =>
      op.one("ScatterND", [x as Value, i as Value, u as Value], "float64", [3, 2], { reduction: "add" }),
    ),
  ],
  SimplifiedLayerNormalization: [0, 1].map((saved) =>
    normal("SimplifiedLayerNormalization", [{ shape: [2, 4] }, { shape: [4] }], saved),
  ),
  LayerNormalization: [
    ...[0, 2].map((saved) => normal("LayerNormalization", [{ shape: [2, 4] }, { shape: [4] }, { shape: [4] }], saved)),
    normal("LayerNormalization", [{ shape: [2, 2, 2] }, { shape: [2, 2] }], 0, [2, 2, 2], { axis: 1 }),
  ],
  BatchNormalization: [
    normal(
      "BatchNormalization",
      [{ shape: [2, 2, 3] }, ...[0, 1, 2].map(() => ({ shape: [2] })), { shape: [2], range: [0.5, 2] }],
      0,
      [2, 2, 3],
    ),
  ],
  GroupNormalization: [
    normal(
      "GroupNormalization",
      [{ shape: [2, 4, 3] }, { shape: [4] }, { shape: [4] }],
      0,
      [2, 4, 3],
      { num_groups: 2 },
      curved,
    ),
  ],
  InstanceNormalization: [
    normal(
      "InstanceNormalization",
      [{ shape: [2, 2, 3, 2] }, { shape: [2] }, { shape: [2] }],
      0,
      [2, 2, 3, 2],
      {},
      curved,
    ),
  ],
  Resize: [
    resize(
      "nearest, twice as large",
      [image(2, 3), image(4, 6)],
      { scales: [1, 1, 2, 2] },
      {
        coordinate_transformation_mode: "asymmetric",
        nearest_mode: "floor",
      },
    ),
    resize(
      "nearest, by sizes, of a named batch",
      [
        ["n", 2, 3, 3],
        ["n", 2, 5, 2],
      ],
      { sizes: [2, 2, 5, 2] },
      {},
      { n: 2 },
    ),
    ...["round_prefer_ceil", "ceil"].map((rounding) =>
      resize(
        `nearest, ${rounding}`,
        [image(4, 4), image(3, 6)],
        { scales: [1, 1, 0.75, 1.5] },
        { nearest_mode: rounding },
      ),
    ),
    ...["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric"].map((places) =>
      resize(
        `linear, ${places}`,
        [image(2, 3), image(5, 4)],
        { sizes: [1, 2, 5, 4] },
        {
          mode: "linear",
          coordinate_transformation_mode: places,
        },
      ),
    ),
    resize(
      "linear, smaller, by scales that do not divide",
      [image(5, 5), image(3, 3)],
      { scales: [1, 1, 0.7, 0.7] },
      {
        mode: "linear",
      },
    ),
    resize(
      "linear, to one row",
      [image(3, 3), image(1, 6)],
      { sizes: [1, 2, 1, 6] },
      {
        mode: "linear",
        coordinate_transformation_mode: "pytorch_half_pixel",
      },
    ),
    resize(
      "some axes",
      [
        [3, 2, 2],
        [3, 4, 4],
      ],
      { scales: [2, 2] },
      { mode: "nearest", axes: [1, 2] },
    ),
  ],
  RotaryEmbedding: [
    one(
      "positions that start again",
      [
        { shape: [2, 3, 8] },
        { shape: [2, 3], ints: [0, 1, 2, 0, 1, 0] },
        { shape: [4, 2], fixed: true },
        { shape: [4, 2], fixed: true },
      ],
      (op, ...inputs) => op.one("RotaryEmbedding", inputs, "float32", [2, 3, 8], {}, "com.microsoft"),
      { float32: linear },
    ),
    one(
      "a part of each head",
      [
        { shape: [1, 2, 16] },
        { shape: [1, 2], ints: [1, 3] },
        { shape: [4, 2], fixed: true },
        { shape: [4, 2], fixed: true },
      ],
      (op, ...inputs) =>
        op.one(
          "RotaryEmbedding",
          inputs,
          "float32",
          [1, 2, 16],
          { num_heads: 2, rotary_embedding_dim: 4 },
          "com.microsoft",
        ),
      { float32: linear },
    ),
  ],
  Conv: [
    conv(
      "plain",
      "Conv",
      [
        [2, 2, 4, 4],
        [3, 2, 3, 3],
        [2, 3, 2, 2],
      ],
      {},
    ),
    conv(
      "pads, strides that do not divide",
      "Conv",
      [
        [1, 2, 6, 5],
        [2, 2, 3, 2],
        [1, 2, 3, 3],
      ],
      { strides: [2, 2], pads: [1, 0, 1, 1] },
    ),
    conv(
      "dilated, of a named batch",
      "Conv",
      [
        ["n", 1, 5, 5],
        [2, 1, 2, 2],
        ["n", 2, 3, 3],
      ],
      { dilations: [2, 2] },
      { n: 2 },
    ),
    conv(
      "groups",
      "Conv",
      [
        [2, 4, 3, 3],
        [6, 2, 2, 2],
        [2, 6, 2, 2],
      ],
      { group: 2 },
    ),
    conv(
      "one dimension",
      "Conv",
      [
        [1, 2, 6],
        [2, 2, 3],
        [1, 2, 4],
      ],
      {},
    ),
  ],
  ConvTranspose: [
    conv(
      "strides",
      "ConvTranspose",
      [
        [1, 2, 2, 2],
        [2, 3, 3, 3],
        [1, 3, 5, 5],
      ],
      { strides: [2, 2] },
    ),
    conv(
      "pads and groups",
      "ConvTranspose",
      [
        [2, 4, 3, 3],
        [4, 1, 2, 2],
        [2, 2, 2, 2],
      ],
      { pads: [1, 1, 1, 1], group: 2 },
    ),
    conv(
      "padding of the output",
      "ConvTranspose",
      [
        [1, 1, 2, 2],
        [1, 1, 3, 3],
        [1, 1, 6, 6],
      ],
      { strides: [2, 2], output_padding: [1, 1] },
    ),
  ],
  MaxPool: [false, true].map((saved) =>
    one(saved ? "indices saved" : "indices found again", [{ shape: [1, 2, 4, 4], values: spaced(32) }], (op, x) => {
      const outputs = [{ type: "float64" as const, shape: [1, 2, 3, 3] }];
      const indices = saved ? [{ type: "int64" as const, shape: [1, 2, 3, 3] }] : [];
      return op.builder.node("MaxPool", [x as Value], [...outputs, ...indices], { kernel_shape: [2, 2] })[0] as Value;
    }),
  ),
  AveragePool: [
    one(
      "plain",
      [{ shape: ["n", 2, 4, 4] }],
      (op, x) =>
        op.one("AveragePool", [x as Value], "float32", ["n", 2, 2, 2], { kernel_shape: [2, 2], strides: [2, 2] }),
      {
        float32: { step: 0.5, bound: 1e-4 },
        sizes: { n: 2 },
      },
    ),
    ...[0, 1].map((count) =>
      one(
        `pads ${count ? "" : "not "}counted`,
        [{ shape: [1, 2, 3, 3] }],
        (op, x) =>
          op.one("AveragePool", [x as Value], "float32", [1, 2, 4, 4], {
            kernel_shape: [2, 2],
            pads: [1, 1, 1, 1],
            count_include_pad: count,
          }),
        {
          float32: { step: 0.5, bound: 1e-4 },
        },
      ),
    ),
    averagePool("ceil_mode that reaches past the end", [image(5, 5), image(3, 3)], {
      kernel_shape: [2, 2],
      strides: [2, 2],
      ceil_mode: 1,
    }),
    ...[0, 1].map((count) =>
      averagePool(`ceil_mode, pads ${count ? "" : "not "}counted`, [image(6, 5), image(4, 3)], {
        kernel_shape: [3, 3],
        strides: [2, 2],
        pads: [1, 1, 1, 1],
        ceil_mode: 1,
        count_include_pad: count,
      }),
    ),
    averagePool("ceil_mode that changes nothing", [image(4, 4), image(2, 2)], {
      kernel_shape: [2, 2],
      strides: [2, 2],
      ceil_mode: 1,
    }),
  ],
  GlobalAveragePool: [
    one(
      "places",
      [{ shape: [2, 2, 2, 3] }],
      (op, x) => op.one("GlobalAveragePool", [x as Value], "float32", [2, 2, 1, 1]),
      {
        float32: { step: 0.5, bound: 1e-4 },
      },
    ),
  ],
};

test("every rule of the table has a case", () => {
  assert.deepEqual(Object.keys(cases).sort(), Object.keys(vjp).sort());
  for (const [name, list] of Object.entries(cases)) assert.ok(list.length > 0, name);
});

for (const [name, list] of Object.entries(cases)) {
  test(`gradient of ${name}`, async (t) => {
    for (const [i, check] of list.entries()) {
      await t.test(check.title ?? `case ${i}`, async () => {
        const seen: string[] = [];
        await checkGradient({
          ...check,
          build(op, inputs) {
            const built = check.build(op, inputs);
            seen.push(...op.builder.nodes.map((node) => node.op));
            return built;
          },
        });
        assert.ok(seen.includes(name), `the case runs ${name}`);
      });
    }
  });
}
