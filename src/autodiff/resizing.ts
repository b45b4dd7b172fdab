/**
 * The gradient of Resize. Along each axis the result is a fixed linear map of the input, y = M x, so dx = Mᵀ g. M follows ONNX's
 * formulas for places, in float32 as ONNX Runtime computes them: another rounding would pick other neighbours.
 */
import { at } from "../base/list.js";
import type { Value } from "../graph/types.js";
import type { Call, VjpRule } from "./call.js";

const f32 = Math.fround;

interface Axis {
  readonly axis: number;
  readonly from: number;
  readonly to: number;
  /** As the node states it; to / from unless the node gives scales. */
  readonly scale: number;
}

/** y = M x along each resized axis: dx = Mᵀ g. */
const Resize: VjpRule = (call) => [
  () => {
    if (call.int("antialias", 0) !== 0) call.refuse("it is antialiased");
    return resizedAxes(call).reduceRight((g, axis) => pullAxis(call, g, axis), call.g);
  },
];

function resizedAxes(call: Call): Axis[] {
  const { x, y } = call;
  const axes = call.ints("axes")?.map((axis) => (axis < 0 ? axis + x.shape.length : axis)) ?? [...x.shape.keys()];
  const scales = call.optional(2) && scalesOf(call);
  return axes.flatMap((axis, i): Axis[] => {
    const [from, to] = [at(x.shape, axis), at(y.shape, axis)];
    if (from === to && (scales === null || at(scales, i) === 1)) return [];
    if (typeof from !== "number" || typeof to !== "number") return call.refuse(`the size ${from} is not known`);
    return [{ axis, from, to, scale: scales ? at(scales, i) : f32(to / from) }];
  });
}

function scalesOf(call: Call): readonly number[] | null {
  const scales = call.floats(2) ?? call.refuse("its scales are computed");
  return scales.length === 0 ? null : scales;
}

function pullAxis(call: Call, g: Value, axis: Axis): Value {
  const { op } = call;
  const { type } = g;
  if (type !== "float32" && type !== "float64") return call.refuse(`it resizes ${type}`);
  const last = g.shape.length - 1;
  const swap = [...g.shape.keys()].with(axis.axis, last).with(last, axis.axis);
  const matrix = op.builder.constant(type, [axis.to, axis.from], matrixOf(call, axis));
  const turned = axis.axis === last ? g : op.transpose(g, swap);
  const product = op.matMul(turned, matrix);
  return axis.axis === last ? product : op.transpose(product, swap);
}

/** M as [to, from], row-major. */
function matrixOf(call: Call, axis: Axis): number[] {
  const weightsAt = weightsOf(call, axis.from);
  const matrix = new Array<number>(axis.to * axis.from).fill(0);
  for (let place = 0; place < axis.to; place++) {
    for (const [source, weight] of weightsAt(sourceOf(call, axis, place))) {
      const index = place * axis.from + source;
      matrix[index] = at(matrix, index) + weight;
    }
  }
  return matrix;
}

/** Where a place of the result lies in the input. */
function sourceOf(call: Call, { from, to, scale }: Axis, place: number): number {
  const mode = call.string("coordinate_transformation_mode", "half_pixel");
  const centred = (): number => f32(f32((place + 0.5) / f32(scale)) - 0.5);
  switch (mode) {
    case "half_pixel":
      return centred();
    case "pytorch_half_pixel":
      return to > 1 ? centred() : 0;
    case "asymmetric":
      return f32(place / f32(scale));
    case "align_corners":
      return to > 1 ? f32(f32(place * (from - 1)) / (to - 1)) : 0;
    case "half_pixel_symmetric": {
      const adjustment = f32(to / f32(f32(scale) * from));
      return f32(f32(f32(from / 2) * f32(1 - adjustment)) + centred());
    }
    default:
      return call.refuse(`it places elements by ${mode}`);
  }
}

/** Which elements of the input a place between them reads, and how much of each. */
function weightsOf(call: Call, size: number): (source: number) => readonly (readonly [number, number])[] {
  const clamp = (source: number): number => Math.min(Math.max(source, 0), size - 1);
  const mode = call.string("mode", "nearest");
  if (mode === "nearest") {
    const round = roundingOf(call);
    return (source) => [[clamp(round(source)), 1]];
  }
  if (mode !== "linear") return call.refuse(`its mode is ${mode}`);
  return (source) => {
    const inside = clamp(source);
    const below = Math.floor(inside);
    const share = f32(inside - below);
    return [
      [below, 1 - share],
      [clamp(below + 1), share],
    ];
  };
}

function roundingOf(call: Call): (source: number) => number {
  const mode = call.string("nearest_mode", "round_prefer_floor");
  switch (mode) {
    case "round_prefer_floor":
      return (source) => Math.ceil(source - 0.5);
    case "round_prefer_ceil":
      return (source) => Math.floor(source + 0.5);
    case "floor":
      return Math.floor;
    case "ceil":
      return Math.ceil;
    default:
      return call.refuse(`it rounds by ${mode}`);
  }
}

export const resizing = { Resize } satisfies Record<string, VjpRule>;
