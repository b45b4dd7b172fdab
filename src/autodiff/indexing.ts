/**
 * Gradients of operators that gather elements by index: each scatters g back and adds. `ScatterElements` does this, since
 * ONNX Runtime's `ScatterND` adds from several threads without synchronization, and equal indices could lose an update.
 */
import { last } from "../base/list.js";
import type { Ops } from "../graph/ops.js";
import { dimProduct, normalizeAxis } from "../graph/shape.js";
import type { Value } from "../graph/types.js";
import type { Call, VjpRule } from "./call.js";

/** y = x[i] along an axis: dx[i] += g. */
const Gather: VjpRule = (call) => [
  () => {
    const { op, x, g, sizes } = call;
    const indices = op.cast(call.input(1), "int64");
    const axis = normalizeAxis(call.int("axis", 0), x.shape.length, "Gather");
    if (axis === 0) return scatterRows(call, x, indices, g);
    // The gathered axis first: x[before, axis, after] as [axis, before, after], and g likewise.
    const rank = x.shape.length;
    const perm = [axis, ...Array.from({ length: rank }, (_, i) => i).filter((i) => i !== axis)];
    const width = indices.shape.length;
    const gPerm = Array.from({ length: g.shape.length }, (_, i) => i);
    const picked = gPerm.splice(axis, width);
    const turnedX = op.transpose(x, perm);
    const turnedG = op.transpose(g, [...picked, ...gPerm]);
    const sum = scatterRows({ op, sizes }, turnedX, indices, turnedG);
    return op.transpose(
      sum,
      perm.map((_, i) => perm.indexOf(i)),
    );
  },
];

/** Zeros of x's shape with the rows of g [indices.shape, rest of x] added at `indices`. */
function scatterRows({ op, sizes }: Pick<Call, "op" | "sizes">, x: Value, indices: Value, g: Value): Value {
  const width = indices.shape.length;
  const rest = x.shape.length - 1;
  let places = indices;
  for (let i = 0; i < rest; i++) places = op.unsqueeze(places, -1);
  places = sizes.expand(places, { ...g, type: "int64" });
  let [flat, at] = [g, places];
  if (width !== 1) {
    const name = indices.shape.length === 0 ? 1 : indices.shape.map(String).join("*");
    const shape = [name, ...x.shape.slice(1)];
    const target = op.concat([op.builder.constant("int64", [1], [-1]), tail(op, sizes.of(x), x.shape.length)], 0);
    flat = op.reshape(g, shape, target);
    at = op.reshape(places, shape, target);
  }
  return op.one("ScatterElements", [sizes.zeros(x), at, flat], x.type, x.shape, { axis: 0, reduction: "add" });
}

/** A shape vector without its first sizes. */
function tail(op: Ops, shape: Value, rank: number, first = 1): Value {
  return rank === first ? list(op) : op.slice(shape, 0, first, rank);
}

/**
 * y = x[i0, i1, ...] over the first axes behind `batch_dims` shared ones: dx[i0, i1, ...] += g. The indices become one index into
 * x with these axes joined.
 */
const GatherND: VjpRule = (call) => [
  () => {
    const { op, x, g, sizes } = call;
    const indices = op.cast(call.input(1), "int64");
    const batch = call.int("batch_dims", 0);
    const width = last(indices.shape);
    if (typeof width !== "number") return call.refuse("the width of its indices is not known");
    const joined = batch + width;
    const sizeOf = (axis: number): Value => op.gather(sizes.of(x), op.builder.scalar("int64", axis));
    let place = batchPlaces(call, indices, batch, sizeOf);
    for (let i = 0; i < width; i++) {
      const size = sizeOf(batch + i);
      const given = op.gather(indices, op.builder.scalar("int64", i), -1);
      const index = op.where(op.compare("Less", given, op.like(given, 0)), op.add(given, size), given);
      place = place ? op.add(op.mul(place, size), index) : index;
    }
    const rest = x.shape.slice(joined);
    const target = op.concat([list(op, -1), tail(op, sizes.of(x), x.shape.length, joined)], 0);
    const rows = op.reshape(x, [dimProduct(x.shape.slice(0, joined)), ...rest], target);
    const sum = scatterRows(call, rows, place ?? call.refuse("it has no indices"), g);
    return sizes.reshape(sum, x);
  },
];

/** The number of each entry of the shared axes, in row-major order, for each index: [batch.., 1..]; null if there are none. */
function batchPlaces({ op }: Call, indices: Value, batch: number, sizeOf: (axis: number) => Value): Value | null {
  if (batch === 0) return null;
  const axes = Array.from({ length: batch }, (_, axis) => axis);
  const count = axes.map(sizeOf).reduce(op.mul);
  const shared = indices.shape.slice(0, batch);
  const numbers = op.one("Range", [op.like(count, 0), count, op.like(count, 1)], "int64", [dimProduct(shared)]);
  const after = indices.shape.slice(batch, -1).map(() => 1);
  const shape = op.concat([...axes.map((axis) => op.reshape(sizeOf(axis), [1])), list(op, ...after)], 0);
  return op.reshape(numbers, [...shared, ...after], shape);
}

const list = (op: Ops, ...data: number[]): Value => op.builder.constant("int64", [data.length], data);

/** y[i] = x[index[i]] along an axis: dx[index[i]] += g[i]. */
const GatherElements: VjpRule = (call) => [
  () => {
    const { op, x, g, sizes } = call;
    const axis = call.int("axis", 0);
    return op.one("ScatterElements", [sizes.zeros(x), call.input(1), g], x.type, x.shape, { axis, reduction: "add" });
  },
];

/** y = x, with y[index] += u: dx = g, du = g[index]. */
const ScatterElements: VjpRule = (call) => {
  const { op, g } = call;
  if (call.string("reduction", "none") !== "add")
    call.refuse("it replaces elements; only reduction=add has a gradient");
  const indices = call.input(1);
  const axis = call.int("axis", 0);
  return [() => g, null, () => op.one("GatherElements", [g, indices], g.type, indices.shape, { axis })];
};

/** y = x, with y[index] += u: dx = g, du = g[index]. */
const ScatterND: VjpRule = (call) => {
  const { op, g } = call;
  if (call.string("reduction", "none") !== "add")
    call.refuse("it replaces elements; only reduction=add has a gradient");
  const updates = call.input(2);
  return [() => g, null, () => op.one("GatherND", [g, call.input(1)], g.type, updates.shape)];
};

export const indexing = { Gather, GatherElements, GatherND, ScatterElements, ScatterND } satisfies Record<
  string,
  VjpRule
>;
