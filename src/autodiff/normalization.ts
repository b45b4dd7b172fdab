/** Gradients of normalizations and of rotary positions. */
import { at } from "../base/list.js";
import type { Ops } from "../graph/ops.js";
import { dimProduct, normalizeAxis } from "../graph/shape.js";
import type { Value } from "../graph/types.js";
import type { Call, VjpRule } from "./call.js";

const square = (op: Ops, x: Value): Value => op.mul(x, x);

/** (variance + ε)^-1/2 */
function inverseDeviation(call: Call, variance: Value): Value {
  const { op } = call;
  const epsilon = op.like(variance, call.float("epsilon", 1e-5));
  return op.unary("Reciprocal", op.sqrt(op.add(variance, epsilon)));
}

function lastAxes(call: Call): number[] {
  const rank = call.x.shape.length;
  const first = normalizeAxis(call.int("axis", -1), rank, call.node.op);
  return Array.from({ length: rank - first }, (_, i) => first + i);
}

/**
 * y = x r w, r = (mean x² + ε)^-1/2: dx = u r - x r³ mean(u x), u = g w; dw = Σ g x r. r is the node's second output.
 * x r is never computed: it does not depend on g, so it would run, and be kept, from the forward pass on.
 */
const SimplifiedLayerNormalization: VjpRule = (call) => {
  const { op, g, x } = call;
  const axes = lastAxes(call);
  const r = call.output(1) ?? inverseDeviation(call, op.mean(square(op, x), axes));
  return [
    () => {
      const u = op.mul(g, call.input(1));
      const share = op.mul(op.mean(op.mul(u, x), axes), op.mul(r, square(op, r)));
      return op.sub(op.mul(u, r), op.mul(x, share));
    },
    () => op.mul(op.mul(g, x), r),
  ];
};

/**
 * y = n w + b, n = (x - μ) r: dx = r (u - mean u - n mean(u n)), u = g w; dw = Σ g n; db = Σ g. μ and r are later outputs.
 * A zero that depends on g keeps n from being computed in the forward pass, and kept.
 */
const LayerNormalization: VjpRule = (call) => {
  const { op, g, x } = call;
  const axes = lastAxes(call);
  let normal: Value | null = null;
  let r: Value | null = null;
  const n = (late: Value): Value => {
    if (normal) return normal;
    const mean = call.output(1) ?? op.mean(x, axes);
    const centred = op.sub(x, op.add(mean, op.scale(late, 0)));
    r = call.output(2) ?? inverseDeviation(call, op.mean(square(op, centred), axes));
    normal = op.mul(centred, r);
    return normal;
  };
  return [
    () => {
      const u = op.mul(g, call.input(1));
      const mean = op.mean(u, axes);
      const along = op.mul(n(mean), op.mean(op.mul(u, n(mean)), axes));
      return op.mul(op.sub(op.sub(u, mean), along), r ?? call.refuse("it has no deviation"));
    },
    () => op.mul(g, n(op.mean(g, axes))),
    () => g,
  ];
};

/**
 * y = n w + b, n = (x - μ) r, with a mean and a deviation for each row and each group of channels (axis 1), and a w and a b for
 * each channel. In rows and groups: dx = r (u - mean u - n mean(u n)), u = g w; dw = Σ g n; db = Σ g.
 */
function groupRule(call: Call, groups: number): readonly (() => Value)[] {
  const { op, g, x, sizes } = call;
  const channels = at(x.shape, 1);
  if (typeof channels !== "number") return call.refuse("its channels are not known");
  const rows = at(x.shape, 0);
  const split = [rows, groups, dimProduct([channels / groups, ...x.shape.slice(2)])];
  const grouped = (value: Value): Value => op.reshape(value, split, op.builder.constant("int64", [3], [0, groups, -1]));
  const perChannel = (value: Value): Value => op.reshape(value, [channels, ...x.shape.slice(2).map(() => 1)]);
  const channelSums = (value: Value): Value => {
    const axes = x.shape.map((_, axis) => axis).filter((axis) => axis !== 1);
    return op.sum(value, axes, false);
  };
  const centred = op.sub(grouped(x), op.mean(grouped(x), [2]));
  const r = inverseDeviation(call, op.mean(square(op, centred), [2]));
  const n = op.mul(centred, r);
  return [
    () => {
      const u = grouped(op.mul(g, perChannel(call.input(1))));
      const along = op.mul(n, op.mean(op.mul(u, n), [2]));
      return sizes.reshape(op.mul(op.sub(op.sub(u, op.mean(u, [2])), along), r), x);
    },
    () => channelSums(op.mul(g, sizes.reshape(n, x))),
    () => channelSums(g),
  ];
}

const GroupNormalization: VjpRule = (call) => {
  const groups = call.int("num_groups", 0);
  return groups > 0 ? groupRule(call, groups) : call.refuse("it has no num_groups");
};

/** A group for each channel. This is also how torch.onnx writes a group normalization before opset 21. */
const InstanceNormalization: VjpRule = (call) => {
  const channels = at(call.x.shape, 1);
  return typeof channels === "number" ? groupRule(call, channels) : call.refuse("its channels are not known");
};

/** Inference: y = s (x - μ) r + b over the channels (axis 1), r = (v + ε)^-1/2: dx = g s r; ds = Σ g n; db = Σ g; dμ = -Σ g s r; dv = -½ Σ g s n r². */
const BatchNormalization: VjpRule = (call) => {
  const { op, g, x } = call;
  if (call.int("training_mode", 0) !== 0) call.refuse("it is in training mode");
  const channels = (value: Value): Value =>
    op.reshape(value, [at(call.input(1).shape, 0), ...x.shape.slice(2).map(() => 1)]);
  const perChannel = (value: Value): Value => {
    const axes = x.shape.map((_, axis) => axis).filter((axis) => axis !== 1);
    return op.sum(value, axes, false);
  };
  const scale = channels(call.input(1));
  const r = channels(inverseDeviation(call, call.input(4)));
  const n = (): Value => op.mul(op.sub(x, channels(call.input(3))), r);
  const through = (): Value => op.mul(g, op.mul(scale, r));
  return [
    through,
    () => perChannel(op.mul(g, n())),
    () => perChannel(g),
    () => op.neg(perChannel(through())),
    () => perChannel(op.scale(op.mul(op.mul(through(), n()), r), -0.5)),
  ];
};

/** A rotation by an angle: dx is g rotated back, by the same cosines and -sin. com.microsoft's order of inputs. */
const RotaryEmbedding: VjpRule = (call) => {
  const { op, g, node } = call;
  return [
    () => {
      const inputs = [g, call.input(1), call.input(2), op.neg(call.input(3))];
      return op.one("RotaryEmbedding", inputs, g.type, g.shape, node.attributes, node.domain);
    },
  ];
};

export const normalization = {
  SimplifiedLayerNormalization,
  LayerNormalization,
  BatchNormalization,
  GroupNormalization,
  InstanceNormalization,
  RotaryEmbedding,
} satisfies Record<string, VjpRule>;
