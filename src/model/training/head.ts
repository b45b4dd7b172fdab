/** The head and cross-entropy over the labelled rows, in chunks, so that only one chunk's logits are held at a time. */
import { at, only, zip } from "../../base/list.js";
import type { CustomGradient } from "../../graph/gradient.js";
import type { Ops } from "../../graph/ops.js";
import type { Value } from "../../graph/types.js";
import type { Head } from "../blueprint.js";
import { scoreWeight } from "../modules.js";
import { buildEmbedding, buildLinear } from "../serving/linear.js";
import { plainWeight, type WeightSource, weightOf } from "../weights.js";
import type { TrainingLinears } from "./linear.js";
import { buildHeadBackward } from "./products.js";
import type { Parameters, TrainingOptions } from "./types.js";

interface HeadContext {
  /** int64 [labelled]. */
  readonly labels: Value;
  /** int64 [chunks]. */
  readonly chunks: Value;
  readonly parameters: Parameters;
  readonly linears: TrainingLinears;
  readonly custom: CustomGradient[];
  /** Called with 1 for each row whose label is the likeliest token and 0 for the others, [labelled]; absent: they are not computed. */
  readonly keepHits?: ((hits: Value) => void) | undefined;
}

/** -log p(label) for each row of x: [labelled, hidden] to [labelled]. */
export function buildTokenLosses(op: Ops, options: TrainingOptions, head: Head, x: Value, context: HeadContext): Value {
  const { weights, chunks } = options;
  const { linear: part, tied } = head;
  const name = `${part.path}.weight`;
  const rows = parts(op, x, context.chunks, chunks);
  const labels = parts(op, context.labels, context.chunks, chunks).map((label) => op.unsqueeze(label, -1));
  const hits: Value[] | null = context.keepHits ? [] : null;
  const keep = (losses: Value): Value => {
    if (hits) context.keepHits?.(joined(op, hits));
    return losses;
  };
  const isFixed = !context.parameters.trained(name) && !context.linears.module(part);
  if (isFixed) {
    const fixed = fixedHead(op, weights, head);
    const results = zip(rows, labels).map(([row, label]) => fixedChunk(op, row, label, fixed, head, hits));
    const losses = joined(
      op,
      results.map(({ losses }) => losses),
    );
    const slopes = joined(
      op,
      results.map(({ slopes }) => slopes),
    );
    context.custom.push({
      inputs: [x],
      outputs: [losses],
      vjp: (by, [g]) => [g ? by.mul(slopes, by.unsqueeze(g, -1)) : null],
    });
    return keep(losses);
  }
  const drops = !isFixed && context.linears.module(part) !== null && (options.dropout ?? 0) > 0;
  const masks = drops ? parts(op, context.linears.mask(part, "labelled"), context.chunks, chunks) : [];
  const biasName = `${head.path}.bias`;
  const hasOwnBias = tied && head.bias; // another head's is its layer's
  const bias = hasOwnBias ? (context.parameters.trained(biasName) ?? plainWeight(op.builder, weights, biasName)) : null;
  const shifted = (logits: Value): Value => (bias ? op.add(logits, bias) : logits);
  const losses = zip(rows, labels).map(([row, label], c) => {
    const logits = only(context.linears.apply([part], row, { mask: drops ? at(masks, c) : null }));
    return crossEntropy(op, bent(op, shifted(logits), head).logits, label, context.custom, hits);
  });
  return keep(joined(op, losses));
}

/** Scores of `outFeatures` labels by a layer that is trained whole, and -log p(label): of x [labelled, hidden]. */
export function buildLabelLosses(
  op: Ops,
  x: Value,
  outFeatures: number,
  { labels, parameters, custom }: Pick<HeadContext, "labels" | "parameters" | "custom">,
): { scores: Value; losses: Value } {
  const weight = parameters.input(scoreWeight, [outFeatures, at(x.shape, 1)]);
  const scores = op.gemm(x, weight, null, { transB: true });
  return { scores, losses: crossEntropy(op, scores, op.unsqueeze(labels, -1), custom, null) };
}

/** Splits [labelled, ...] into consecutive parts of the given sizes. */
function parts(op: Ops, x: Value, sizes: Value, count: number): Value[] {
  const outputs = Array.from({ length: count }, (_, c) => ({ type: x.type, shape: x.shape.with(0, `labelled.${c}`) }));
  return op.builder.node("Split", [x, sizes], outputs, { axis: 0 });
}

function joined(op: Ops, chunks: readonly Value[]): Value {
  const [first] = chunks;
  if (!first) return op.concat(chunks, 0);
  return op.one("Concat", chunks, first.type, first.shape.with(0, "labelled"), { axis: 0 });
}

/** With y = scale z, logits = cap tanh(y / cap), and their slope over y, 1 - tanh²; null: 1. */
function bent(
  op: Ops,
  z: Value,
  { scale, softcap: cap }: Pick<Head, "scale" | "softcap">,
): { logits: Value; slope: Value | null } {
  const y = scale === 1 ? z : op.scale(z, scale);
  if (cap === null) return { logits: y, slope: null };
  const tanh = op.tanh(op.scale(y, 1 / cap));
  return { logits: op.scale(tanh, cap), slope: op.sub(op.like(tanh, 1), op.mul(tanh, tanh)) };
}

/** p, and max z - log max p - z[label]. Adds to `hits` whether the label's logit is the largest. */
function likelihood(op: Ops, logits: Value, label: Value, hits: Value[] | null): { p: Value; losses: Value } {
  const p = op.softmax(logits);
  const atLabel = op.one("GatherElements", [logits, label], logits.type, label.shape, { axis: 1 });
  const largest = op.reduce("ReduceMax", logits, [1]);
  hits?.push(op.squeeze(op.cast(op.compare("GreaterOrEqual", atLabel, largest), "float32"), 1));
  const all = op.sub(largest, op.log(op.reduce("ReduceMax", p, [1]))); // log Σ e^z
  return { p, losses: op.squeeze(op.sub(all, atLabel), 1) };
}

/** A frozen head, W [vocab, hidden]. */
interface FixedHead {
  /** x Wᵀ + bias: [rows, hidden] to [rows, vocab]. */
  logits(x: Value): Value;
  /** The losses' gradient over x, (s (p - 1[label])) W: [rows, hidden]; s [rows, vocab] is the logits' slope. */
  passBack(p: Value, label: Value, s: Value | null): Value;
}

function fixedHead(op: Ops, weights: WeightSource, { path, linear: part, bias: biased }: Head): FixedHead {
  const name = `${part.path}.weight`;
  const bias = biased ? plainWeight(op.builder, weights, `${path}.bias`) : null;
  const at = (x: Value, label: Value): Value => op.one("GatherElements", [x, label], x.type, label.shape, { axis: 1 });
  if (weightOf(weights, name).form !== "fp32") {
    return {
      logits(x) {
        const z = only(buildLinear(op, weights, [part], x, { biased: false }));
        return bias ? op.add(z, bias) : z;
      },
      passBack(p, label, s) {
        // If the label is nearly certain, p W and W[label] almost cancel and only rounding errors remain. So they are kept apart.
        const own = at(p, label);
        const others = op.one("ScatterElements", [p, label, op.scale(own, 0)], p.type, p.shape, { axis: 1 });
        const missed = op.sub(op.like(p, 1), own);
        const rows = buildEmbedding(op, weights, name, op.squeeze(label, 1));
        const pulls = op.mul(rows, s ? op.mul(missed, at(s, label)) : missed);
        return op.sub(buildHeadBackward(op, weights, part, s ? op.mul(others, s) : others, true), pulls);
      },
    };
  }
  const w = plainWeight(op.builder, weights, name);
  return {
    logits: (x) => op.gemm(x, w, bias, { transB: true }),
    passBack(p, label, s) {
      const rows = op.gather(w, op.squeeze(label, 1));
      const pulls = s ? op.mul(rows, at(s, label)) : rows;
      return op.sub(op.gemm(s ? op.mul(p, s) : p, w, null), pulls);
    },
  };
}

/** A zero [rows, 1] that depends on the losses: adding it to a gradient orders the losses first, so the logits are not kept for them. */
const zeroAfter = (op: Ops, losses: Value): Value => op.unsqueeze(op.scale(losses, 0), 1);

/** For a frozen head: the losses, and the gradient of each over its row. No logits are kept. */
function fixedChunk(
  op: Ops,
  x: Value,
  label: Value,
  fixed: FixedHead,
  head: Head,
  hits: Value[] | null,
): { losses: Value; slopes: Value } {
  const { logits, slope } = bent(op, fixed.logits(x), head);
  const { p, losses } = likelihood(op, logits, label, hits);
  const back = fixed.passBack(p, label, slope);
  return { losses, slopes: op.add(head.scale === 1 ? back : op.scale(back, head.scale), zeroAfter(op, losses)) };
}

/** For logits that need a gradient: dz = g (p - 1[label]). */
function crossEntropy(op: Ops, logits: Value, label: Value, custom: CustomGradient[], hits: Value[] | null): Value {
  const { p, losses } = likelihood(op, logits, label, hits);
  custom.push({
    inputs: [logits],
    outputs: [losses],
    vjp: (by, [g]) => {
      if (!g) return [null];
      const up = by.add(by.unsqueeze(g, -1), zeroAfter(by, losses));
      const spread = by.mul(p, up);
      const down = by.neg(up);
      return [by.one("ScatterElements", [spread, label, down], p.type, p.shape, { axis: 1, reduction: "add" })];
    },
  });
  return losses;
}
