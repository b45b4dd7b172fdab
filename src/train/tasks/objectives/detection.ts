/**
 * Objects of a picture, for detectors of DETR's kind (arXiv:2005.12872): each query has logits over the labels and nothing, and a box. Each
 * object is given to one query, at the least cost by the present weights, and the other queries should say nothing.
 */
import { at, float32At } from "../../../base/list.js";
import type { Ops } from "../../../graph/ops.js";
import type { Value } from "../../../graph/types.js";
import { Tensor } from "../../../runtime/tensor.js";
import { assign } from "../../detection/assignment.js";
import { averagePrecision, type ScoredBox, type SeenPicture } from "../../detection/average-precision.js";
import { type Box, distance, generalizedIou } from "../../detection/boxes.js";
import { type Assessment, shownAnswers } from "../assessment.js";
import { crossEntropy, lossInputs } from "../losses.js";
import { type Meter, type Outputs, outputOf, type TaskExample, type TaskObjective } from "../types.js";

/** As DETR has them, in the cost of a match as in the loss. Queries for nothing outnumber the others, and weigh less. */
const weights = { nothing: 0.1, distance: 5, overlap: 2 } as const;

export interface DetectionTarget {
  readonly objects: readonly { readonly label: string; readonly box: Box }[];
}

/** `labels`: of the head's outputs but the last, which is nothing. */
export function detection(labels: readonly string[]): TaskObjective<DetectionTarget> {
  const indices = new Map(labels.map((label, index) => [label, index]));
  const labelled = ({ objects }: DetectionTarget) =>
    objects.map(({ label, box }) => ({ label: indices.get(label) ?? 0, box }));
  return {
    outputs: [logitsName, boxesName],
    loss: (op, outputs) =>
      op.add(crossEntropy(op, outputOf(outputs, logitsName)), boxLoss(op, outputOf(outputs, boxesName))),
    count: () => 1,
    async feeds(targets, rows, weight, { predict }) {
      const queries = new PredictedQueries(await predict());
      const wanted = targets.map(labelled);
      const matches = wanted.map((objects, row) => matchObjects(queries, row, objects));
      const objects = wanted.reduce((sum, { length }) => sum + length, 0);
      return lossFeeds(queries, { matches, objects, rows, share: weight * targets.length });
    },
    meter: () => new DetectionMeter(labelled),
  };
}

/** Probability from which an object is shown as found, as in transformers. */
const shownFrom = 0.5;

/** Shows the labels of what is found in some pictures, in alphabetical order. */
export function shownObjects(labels: readonly string[], describe: (example: TaskExample) => string): Assessment {
  const listed = (found: readonly string[]): string => [...found].sort().join(", ") || "nothing";
  return shownAnswers({
    describe,
    expected: ({ target }) => listed((target as DetectionTarget).objects.map(({ label }) => label)),
    answer: (outputs, row) =>
      listed(
        foundIn(new PredictedQueries(outputs), row)
          .filter(({ score }) => score >= shownFrom)
          .map(({ label }) => labels[label] ?? ""),
      ),
  });
}

const logitsName = "logits";
const boxesName = "pred_boxes";

interface LabelledBox {
  readonly label: number;
  readonly box: Box;
}

/** What the queries of each row say. */
class PredictedQueries {
  readonly count: number;
  /** The label that means nothing. */
  readonly nothing: number;
  readonly #logits: Float32Array;
  readonly #boxes: Float32Array;

  constructor(outputs: Outputs) {
    const logits = outputOf(outputs, logitsName);
    this.count = at(logits.shape, 1);
    this.nothing = at(logits.shape, 2) - 1;
    this.#logits = logits.data as Float32Array;
    this.#boxes = outputOf(outputs, boxesName).data as Float32Array;
  }

  probabilities(row: number, query: number): readonly number[] {
    const size = this.nothing + 1;
    const start = (row * this.count + query) * size;
    const logits = this.#logits.subarray(start, start + size);
    const most = logits.reduce((a, b) => Math.max(a, b));
    const powers = Array.from(logits, (logit) => Math.exp(logit - most));
    const sum = powers.reduce((a, b) => a + b);
    return powers.map((power) => power / sum);
  }

  box(row: number, query: number): Box {
    const start = (row * this.count + query) * 4;
    const number = (i: number): number => float32At(this.#boxes, start + i);
    return [number(0), number(1), number(2), number(3)];
  }
}

/** The object of each query of a row that has one. Of more objects than queries, the least costly are matched. */
function matchObjects(
  queries: PredictedQueries,
  row: number,
  objects: readonly LabelledBox[],
): Map<number, LabelledBox> {
  const predicted = Array.from({ length: queries.count }, (_, query) => ({
    probabilities: queries.probabilities(row, query),
    box: queries.box(row, query),
  }));
  const costs = objects.map(({ label, box }) =>
    predicted.map(
      (query) =>
        weights.distance * distance(query.box, box) -
        weights.overlap * generalizedIou(query.box, box) -
        at(query.probabilities, label),
    ),
  );
  const matches = new Map<number, LabelledBox>();
  for (const [i, query] of assign(costs).entries()) if (query !== null) matches.set(query, at(objects, i));
  return matches;
}

interface MatchedBatch {
  readonly matches: readonly ReadonlyMap<number, LabelledBox>[];
  /** With those that no query was left for. */
  readonly objects: number;
  /** With padding. */
  readonly rows: number;
  /** Of this batch in the whole step. */
  readonly share: number;
}

/** Inputs of the loss. Within the batch, cross-entropy is the weighted mean over queries and the boxes' loss is the mean over objects. */
function lossFeeds(
  { count, nothing }: PredictedQueries,
  { matches, objects, rows, share }: MatchedBatch,
): Map<string, Tensor> {
  const matched = matches.reduce((sum, { size }) => sum + size, 0);
  const total = matched + weights.nothing * (matches.length * count - matched);
  const labels = Tensor.zeros("int64", [rows * count, 1]);
  const labelWeights = Tensor.zeros("float32", [rows * count, 1]);
  const boxes = Tensor.from("float32", [rows, count, 4], new Float32Array(rows * count * 4).fill(0.5));
  const boxWeights = Tensor.zeros("float32", [rows, count, 1]);
  for (const [row, match] of matches.entries()) {
    for (let query = 0; query < count; query++) {
      const place = row * count + query;
      const object = match.get(query);
      labels.data[place] = BigInt(object?.label ?? nothing);
      labelWeights.data[place] = ((object ? 1 : weights.nothing) * share) / total;
      if (!object) continue;
      boxes.data.set(object.box, place * 4);
      boxWeights.data[place] = share / objects;
    }
  }
  return new Map<string, Tensor>([
    [lossInputs.labels, labels],
    [lossInputs.weights, labelWeights],
    [lossInputs.targets, boxes],
    [lossInputs.targetWeights, boxWeights],
  ]);
}

/**
 * Σ weight · (5 · |box - target| + 2 · (1 - generalized IoU)), for boxes [rows, queries, 4]. Inputs `loss.targets`, of the same shape, and
 * `loss.target_weights` [rows, queries, 1].
 */
function boxLoss(op: Ops, boxes: Value): Value {
  const targets = op.builder.input(lossInputs.targets, "float32", boxes.shape);
  const share = op.builder.input(lossInputs.targetWeights, "float32", boxes.shape.with(2, 1));
  const apart = op.sum(op.unary("Abs", op.sub(boxes, targets)), [2]);
  const overlap = overlapOf(op, boxes, targets);
  const losses = op.add(
    op.scale(apart, weights.distance),
    op.scale(op.sub(op.like(overlap, 1), overlap), weights.overlap),
  );
  return op.sum(op.mul(losses, share), [0, 1, 2], false);
}

/** Generalized IoU of boxes [.., 4]: [.., 1]. */
function overlapOf(op: Ops, a: Value, b: Value): Value {
  const [p, q] = [cornersOf(op, a), cornersOf(op, b)];
  const max = (x: Value, y: Value): Value => op.binary("Max", x, y);
  const min = (x: Value, y: Value): Value => op.binary("Min", x, y);
  const product = (lengths: Value): Value => op.mul(op.slice(lengths, 2, 0, 1), op.slice(lengths, 2, 1, 2));
  const shared = product(op.unary("Relu", op.sub(min(p.end, q.end), max(p.start, q.start))));
  const union = op.sub(op.add(product(p.size), product(q.size)), shared);
  const hull = product(op.sub(max(p.end, q.end), min(p.start, q.start)));
  return op.sub(op.div(shared, union), op.div(op.sub(hull, union), hull));
}

function cornersOf(op: Ops, boxes: Value): { readonly start: Value; readonly end: Value; readonly size: Value } {
  const center = op.slice(boxes, 2, 0, 2);
  const size = op.slice(boxes, 2, 2, 4);
  const half = op.scale(size, 0.5);
  return { start: op.sub(center, half), end: op.add(center, half), size };
}

/** The likeliest label of each query, other than nothing. */
function foundIn(queries: PredictedQueries, row: number): ScoredBox[] {
  return Array.from({ length: queries.count }, (_, query) => {
    const scores = queries.probabilities(row, query).slice(0, -1);
    const score = scores.reduce((a, b) => Math.max(a, b), 0);
    return { score, label: scores.indexOf(score), box: queries.box(row, query) };
  });
}

class DetectionMeter implements Meter<DetectionTarget> {
  readonly #labelled: (target: DetectionTarget) => readonly LabelledBox[];
  readonly #pictures: SeenPicture[] = [];

  constructor(labelled: (target: DetectionTarget) => readonly LabelledBox[]) {
    this.#labelled = labelled;
  }

  add(outputs: Outputs, targets: readonly DetectionTarget[]): void {
    const queries = new PredictedQueries(outputs);
    for (const [row, target] of targets.entries()) {
      this.#pictures.push({ found: foundIn(queries, row), objects: this.#labelled(target) });
    }
  }

  metrics() {
    return { ap50: averagePrecision(this.#pictures) };
  }
}
