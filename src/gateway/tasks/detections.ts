/** What a detector saw, as DETR and YOLOS say it: for each query a softmax over labels and nothing, and a box. */

import { LorikeetError } from "../../base/errors.js";
import type { TaskTensor } from "../../engine/task/types.js";
import { activated, labelNames, notForLabels } from "./label-scores.js";
import { numbersOf } from "./values.js";

export interface Detection {
  readonly score: number;
  readonly label: string;
  /** In pixels of the picture, cut to whole ones. */
  readonly box: { readonly xmin: number; readonly ymin: number; readonly xmax: number; readonly ymax: number };
}

export interface DetectionRules {
  /** The least score, which is not enough. */
  readonly threshold: number;
  /** Of the picture, turned as its EXIF data says. */
  readonly width: number;
  readonly height: number;
}

/**
 * The queries of one row that saw something, in the model's order.
 * @throws LorikeetError `model_unsupported` unless the model has logits [1, queries, labels + 1] and pred_boxes [1, queries, 4].
 */
export function detections(
  outputs: ReadonlyMap<string, TaskTensor>,
  { threshold, width, height }: DetectionRules,
  ...names: readonly (readonly string[] | null)[]
): Detection[] {
  const [logits, boxes] = [outputs.get("logits"), outputs.get("pred_boxes")];
  if (logits?.shape.length !== 3) throw notForLabels("[batch, queries, labels]");
  if (boxes?.shape.length !== 3 || boxes.shape[2] !== 4) throw withoutBoxes();
  const [, queries = 0, classes = 0] = logits.shape;
  const labels = labelNames(classes - 1, ...names);
  if (names.some((list) => list?.length === classes)) throw withoutNothing();
  const [scores, centers] = [numbersOf(logits), numbersOf(boxes)];
  const found: Detection[] = [];
  for (let query = 0; query < queries; query++) {
    const all = activated(scores.slice(query * classes, (query + 1) * classes), "softmax").slice(0, -1);
    const score = all.reduce((most, each) => Math.max(most, each), 0);
    if (!(score > threshold)) continue;
    const [x = 0, y = 0, w = 0, h = 0] = centers.slice(query * 4, query * 4 + 4);
    const box = {
      xmin: Math.trunc((x - w / 2) * width),
      ymin: Math.trunc((y - h / 2) * height),
      xmax: Math.trunc((x + w / 2) * width),
      ymax: Math.trunc((y + h / 2) * height),
    };
    found.push({ score, label: labels[all.indexOf(score)] ?? "", box });
  }
  return found;
}

const withoutBoxes = (): LorikeetError =>
  new LorikeetError(
    "model_unsupported",
    "This pipeline does not fit the model, which has no output pred_boxes [batch, queries, 4].",
  );

/** Focal-loss detectors score each label by itself. */
const withoutNothing = (): LorikeetError =>
  new LorikeetError(
    "model_unsupported",
    "This pipeline does not fit the model: its logits have no place for nothing, as those of DETR and YOLOS have.",
  );
