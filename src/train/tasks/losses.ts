/** Losses over a model's outputs, as graph. Each documents the inputs that it reads; weights make sums of batches one mean. */

import type { Ops } from "../../graph/ops.js";
import { dimProduct } from "../../graph/shape.js";
import type { Value } from "../../graph/types.js";

/** Names of the losses' inputs. */
export const lossInputs = {
  labels: "loss.labels",
  weights: "loss.weights",
  hidden: "loss.hidden",
  targets: "loss.targets",
  targetWeights: "loss.target_weights",
} as const;

/**
 * Σ weight · -log p of the labels, for logits [..., classes]. Inputs `loss.labels` int64 [n, 1] and `loss.weights` float32 [n, 1], for
 * the n rows of classes.
 */
export function crossEntropy(op: Ops, logits: Value): Value {
  const rows = rowsOf(logits);
  const labels = op.builder.input(lossInputs.labels, "int64", [rows, 1]);
  const weights = op.builder.input(lossInputs.weights, "float32", [rows, 1]);
  return op.neg(op.sum(op.mul(picked(op, logProbabilities(op, logits), labels), weights), [0, 1], false));
}

/** Log-softmax over the last axis, as rows [n, classes]. */
function logProbabilities(op: Ops, logits: Value): Value {
  const shape = [rowsOf(logits), Number(logits.shape.at(-1))];
  return op.one("LogSoftmax", [op.reshape(logits, shape)], "float32", shape, { axis: 1 });
}

const rowsOf = ({ shape }: Value): number =>
  shape.slice(0, -1).reduce<number>((count, size) => count * Number(size), 1);

/** The value of each row's label: [n, 1]. */
const picked = (op: Ops, rows: Value, labels: Value): Value =>
  op.one("GatherElements", [rows, labels], "float32", labels.shape, { axis: 1 });

/**
 * In-batch negatives: cross-entropy of `scale` times the cosines of anchors [rows, width] and candidates [n, width], each anchor's label
 * being the candidate of the same row. Input `loss.hidden` float32 [1, n]: 0, or a large negative number for candidates of padding.
 */
export function contrastive(op: Ops, anchors: Value, candidates: Value, scale: number): Value {
  const similarities = op.matMul(unit(op, anchors), op.transpose(unit(op, candidates), [1, 0]));
  const hidden = op.builder.input(lossInputs.hidden, "float32", [1, candidates.shape[0] ?? 1]);
  return crossEntropy(op, op.add(op.scale(similarities, scale), hidden));
}

/** Cosines of the rows of two matrices [rows, width]: [rows, 1]. */
export function cosines(op: Ops, a: Value, b: Value): Value {
  return op.sum(op.mul(unit(op, a), unit(op, b)), [1]);
}

/** Vectors at length 1, unless they are zero. */
function unit(op: Ops, vectors: Value): Value {
  const squares = op.sum(op.mul(vectors, vectors), [1]);
  return op.div(vectors, op.sqrt(op.binary("Max", squares, op.like(squares, shortest))));
}

/** The square of the least length by which PyTorch's cosine divides. */
const shortest = 1e-16;

/** Σ weight · (output - target)². Inputs `loss.targets` and `loss.target_weights` float32, in the shape of the output. */
export function squaredError(op: Ops, output: Value): Value {
  const { error, weights } = errors(op, output);
  return weighted(op, op.mul(error, error), weights);
}

/**
 * Σ weight · (softplus(logit) - target · logit), the cross-entropy of sigmoids, as torch's binary_cross_entropy_with_logits. Inputs
 * `loss.targets`, in 0..1, and `loss.target_weights` float32, in the shape of the logits.
 */
export function binaryCrossEntropy(op: Ops, logits: Value): Value {
  const { targets, weights } = targetInputs(op, logits);
  return weighted(op, op.sub(op.unary("Softplus", logits), op.mul(targets, logits)), weights);
}

function targetInputs(op: Ops, { shape }: Value): { targets: Value; weights: Value } {
  return {
    targets: op.builder.input(lossInputs.targets, "float32", shape),
    weights: op.builder.input(lossInputs.targetWeights, "float32", shape),
  };
}

function errors(op: Ops, output: Value): { error: Value; weights: Value } {
  const { targets, weights } = targetInputs(op, output);
  return { error: op.sub(output, targets), weights };
}

function weighted(op: Ops, losses: Value, weights: Value): Value {
  const count = dimProduct(losses.shape);
  return op.sum(op.reshape(op.mul(losses, weights), [count]), [0], false);
}

/** Huber's loss with a threshold of 1, as torch's smooth_l1_loss, between the value of each row's label and its target. */
export function actionValue(op: Ops, values: Value): Value {
  const rows = rowsOf(values);
  const labels = op.builder.input(lossInputs.labels, "int64", [rows, 1]);
  const { error, weights } = errors(op, picked(op, values, labels));
  const size = op.unary("Abs", error);
  const small = op.scale(op.mul(error, error), 0.5);
  const loss = op.where(op.compare("Less", size, op.like(size, 1)), small, op.sub(size, op.like(size, 0.5)));
  return weighted(op, loss, weights);
}

/** Σ weight · -advantage · log p of the actions taken: `crossEntropy` whose weights hold the advantages, less `share` of the entropy. */
export function policyGradient(op: Ops, logits: Value, share: number): Value {
  const rows = rowsOf(logits);
  const logs = logProbabilities(op, logits);
  const labels = op.builder.input(lossInputs.labels, "int64", [rows, 1]);
  const weights = op.builder.input(lossInputs.weights, "float32", [rows, 1]);
  const counted = op.builder.input(lossInputs.hidden, "float32", [rows, 1]);
  const gained = op.sum(op.mul(picked(op, logs, labels), weights), [0, 1], false);
  const entropies = op.neg(op.sum(op.mul(op.exp(logs), logs), [1]));
  const entropy = op.sum(op.mul(entropies, counted), [0, 1], false);
  return op.neg(op.add(gained, op.scale(entropy, share)));
}
