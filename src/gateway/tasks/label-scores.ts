/** Logits of labels to scores by name, best first. */

import { LorikeetError } from "../../base/errors.js";
import type { TaskTensor } from "../../engine/task/types.js";
import { checkedLogits, numbersOf } from "./values.js";

export interface LabelScore {
  readonly label: string;
  readonly score: number;
}

export const activations = ["softmax", "sigmoid", "none"] as const;
export type Activation = (typeof activations)[number];

/** Names that an adapter or the model gives its labels. Names for another number of labels are not theirs. */
export function labelNames(count: number, ...given: readonly (readonly string[] | null)[]): string[] {
  const names = given.find((list) => list?.length === count);
  return Array.from({ length: count }, (_, index) => names?.[index] ?? `LABEL_${index}`);
}

/** Every label of one row. @throws LorikeetError `model_unsupported` unless the model has logits [1, labels]. */
export function labelScores(
  logits: TaskTensor | undefined,
  activation: Activation,
  ...names: readonly (readonly string[] | null)[]
): LabelScore[] {
  if (logits?.shape.length !== 2) throw notForLabels("[batch, labels]");
  const scores = activated(checkedLogits(numbersOf(logits)), activation);
  const labels = labelNames(scores.length, ...names);
  return scores.map((score, index) => ({ label: labels[index] ?? "", score })).sort((a, b) => b.score - a.score);
}

export function notForLabels(shape: string): LorikeetError {
  return new LorikeetError(
    "model_unsupported",
    `This pipeline does not fit the model, which has no output logits ${shape}; /v2/models/{name}/infer takes tensors.`,
  );
}

export function activated(logits: readonly number[], activation: Activation): number[] {
  if (activation === "none") return [...logits];
  if (activation === "sigmoid") return logits.map((value) => 1 / (1 + Math.exp(-value)));
  const most = logits.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  const powers = logits.map((value) => Math.exp(value - most));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((value) => value / sum);
}
