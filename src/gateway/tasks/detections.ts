/** What a detector saw: for each query a box, and a softmax over labels and nothing, or a sigmoid for each label. */

import { LorikeetError } from "../../base/errors.js";
import type { TaskTensor } from "../../engine/task/types.js";
import { activated, labelNames, notForLabels } from "./label-scores.js";
import { checkedLogits, checkedVector, numbersOf } from "./values.js";

export interface Detection {
  readonly score: number;
  readonly label: string;
  /** In pixels of the picture, cut to whole ones. */
  readonly box: { readonly xmin: number; readonly ymin: number; readonly xmax: number; readonly ymax: number };
}

/** How a detector's logits become scores. */
export type DetectorScores =
  /** As DETR and YOLOS: the likeliest label of each query, whose last one is for nothing. */
  | {
      readonly kind: "softmax";
      /** Neither the class nor lorikeet.json says so. */
      readonly isAssumed: boolean;
    }
  /** Trained with focal loss: the highest scores of all queries and labels, `top` of them; null: as many as there are queries. */
  | { readonly kind: "sigmoid"; readonly top: number | null };

export interface Detector {
  readonly scores: DetectorScores;
  /** The least score, which is not enough. */
  readonly threshold: number;
}

export const usualDetector: Detector = { scores: { kind: "softmax", isAssumed: true }, threshold: 0.5 };

export interface DetectionRules extends Detector {
  /** Of the picture, turned as its EXIF data says. */
  readonly width: number;
  readonly height: number;
}

interface Found {
  readonly query: number;
  readonly label: number;
  readonly score: number;
}

/**
 * What was seen, in the model's order or, of sigmoids, best first.
 * @throws LorikeetError `model_unsupported` unless the model has logits [1, queries, labels], with one more for nothing under a softmax, and
 * pred_boxes [1, queries, 4].
 */
export function detections(
  outputs: ReadonlyMap<string, TaskTensor>,
  { scores, threshold, width, height }: DetectionRules,
  ...names: readonly (readonly string[] | null)[]
): Detection[] {
  const [logits, boxes] = [outputs.get("logits"), outputs.get("pred_boxes")];
  if (logits?.shape.length !== 3) throw notForLabels("[batch, queries, labels]");
  if (boxes?.shape.length !== 3 || boxes.shape[2] !== 4) throw withoutBoxes();
  const classes = logits.shape[2] ?? 0;
  const labels = labelNames(scores.kind === "softmax" ? classes - 1 : classes, ...names);
  const fits = (count: number): boolean => names.some((list) => list?.length === count);
  // An adapter's head may have as many outputs, nothing among them, as the base has labels.
  if (scores.kind === "softmax" && scores.isAssumed && fits(classes) && !fits(classes - 1)) throw withoutNothing();
  const centers = checkedVector(numbersOf(boxes));
  const found = scores.kind === "softmax" ? likeliest(logits) : highest(logits, scores.top);
  return found
    .filter(({ score }) => score > threshold)
    .map(({ query, label, score }) => {
      const [x = 0, y = 0, w = 0, h = 0] = centers.slice(query * 4, query * 4 + 4);
      const box = {
        xmin: Math.trunc((x - w / 2) * width),
        ymin: Math.trunc((y - h / 2) * height),
        xmax: Math.trunc((x + w / 2) * width),
        ymax: Math.trunc((y + h / 2) * height),
      };
      return { score, label: labels[label] ?? "", box };
    });
}

/** The likeliest label of each query. */
function likeliest(logits: TaskTensor): Found[] {
  const [, queries = 0, classes = 0] = logits.shape;
  const values = checkedLogits(numbersOf(logits));
  return Array.from({ length: queries }, (_, query): Found => {
    const all = activated(values.slice(query * classes, (query + 1) * classes), "softmax").slice(0, -1);
    const score = all.reduce((most, each) => Math.max(most, each), 0);
    return { query, label: all.indexOf(score), score };
  });
}

/** The highest scores over all queries and labels, best first. */
function highest(logits: TaskTensor, top: number | null): Found[] {
  const [, queries = 0, classes = 0] = logits.shape;
  const scores = activated(checkedLogits(numbersOf(logits)), "sigmoid");
  return scores
    .map((score, place): Found => ({ query: Math.floor(place / classes), label: place % classes, score }))
    .sort((a, b) => b.score - a.score)
    .slice(0, top ?? queries);
}

const withoutBoxes = (): LorikeetError =>
  new LorikeetError(
    "model_unsupported",
    "This pipeline does not fit the model, which has no output pred_boxes [batch, queries, 4].",
  );

/** A detector that scores each label by itself and does not say so. */
const withoutNothing = (): LorikeetError =>
  new LorikeetError(
    "model_unsupported",
    'This pipeline does not fit the model: its logits have no place for nothing, as those of DETR and YOLOS have; `"scores": "sigmoid"` in lorikeet.json says that each label has a score of its own.',
  );
