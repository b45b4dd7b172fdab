/** A sparse vector over the vocabulary, as SPLADE makes it: for each entry, log(1 + relu) of the largest logit of a text's tokens. */

import { LorikeetError } from "../../base/errors.js";
import type { TaskTensor } from "../../engine/task/types.js";
import { unpadded } from "./pooling.js";
import { checkedLogits } from "./values.js";

export interface SparseValue {
  readonly index: number;
  readonly value: number;
}

/** `logits`: [1, length, vocabulary]. */
export function sparseVector(logits: TaskTensor, mask: TaskTensor | undefined): SparseValue[] {
  const vectors = unpadded(logits, mask).map(checkedLogits);
  const size = logits.shape[2] ?? 0;
  return Array.from({ length: size }, (_, index): SparseValue => {
    const most = vectors.reduce((largest, vector) => Math.max(largest, vector[index] ?? 0), 0);
    return { index, value: Math.log1p(most) };
  }).filter(({ value }) => value > 0);
}

export const notSparse = (): LorikeetError =>
  new LorikeetError(
    "model_unsupported",
    "This route does not fit the model, which does not predict masked tokens: sparse vectors are made from its logits [batch, length, vocabulary].",
  );
