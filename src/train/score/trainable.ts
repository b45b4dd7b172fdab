/** A decoder that classifies a text by the state of its last token, as a run sees it. A batch is a list of labelled texts. */

import { at } from "../../base/list.js";
import { classifiedPlace } from "../../engine/pooled-engine.js";
import { Tensor } from "../../runtime/tensor.js";
import { noLabel, type TokenBatch } from "../data/batch.js";
import type { DecoderStep } from "../decoder-step.js";
import type { TextParts } from "../tasks/inputs/text-inputs.js";
import type { TaskBatch } from "../tasks/trainable.js";
import type { Trainable } from "../trainable.js";
import { type ScoreGoal, scoresName } from "./goal.js";

export interface BatchRules {
  /** By output. */
  readonly labels: readonly string[];
  /** The token that transformers takes for padding wherever it ends a text; null: the model has none. */
  readonly padId: number | null;
  /** Of a batch. */
  readonly minTokens: number;
}

export function scoreTrainable(
  { step, inputs }: Pick<DecoderStep, "step" | "inputs">,
  { labels, objective }: ScoreGoal,
  rules: Omit<BatchRules, "labels">,
): Trainable<TaskBatch> {
  const tokensOf = (batch: TaskBatch): TokenBatch => toTokens(batch, { labels, ...rules });
  return {
    values: step.values,
    gradients: step.gradients,
    count: (batch) => batch.length,
    size: (batch) => batch.reduce((sum, { size }) => sum + size, 0),
    async run(batch, { total, step: number, run, signal }) {
      const tokens = tokensOf(batch);
      const masks = inputs?.(tokens, number, run) ?? new Map<string, Tensor>();
      return (await step.run(tokens, { labelWeight: 1 / Math.max(total, 1), inputs: masks, signal })).loss;
    },
    async evaluate(batches, { signal, progress }) {
      const total = batches.reduce((sum, batch) => sum + batch.length, 0);
      const meter = objective.meter();
      let loss = 0;
      for (const [i, batch] of batches.entries()) {
        signal.throwIfAborted();
        progress?.(i, batches.length);
        const { tokenLosses, scores } = await step.evaluate(tokensOf(batch), { signal });
        loss += tokenLosses.reduce((sum, value) => sum + value, 0) / Math.max(total, 1);
        const found = Tensor.from("float32", [batch.length, labels.length], Float32Array.from(scores ?? []));
        const targets = batch.map(({ target }) => String(target));
        meter.add(new Map([[scoresName, found]]), targets, new Map());
      }
      return { loss, metrics: meter.metrics() };
    },
  };
}

/** Texts with a label each, padded at their end. */
function toTokens(batch: TaskBatch, { labels, padId, minTokens }: BatchRules): TokenBatch {
  const texts = batch.map(({ source }) => at(source as TextParts, 0).ids);
  // With two tokens a row, some place has no label, which padding needs.
  const length = Math.max(2, Math.ceil(minTokens / texts.length), ...texts.map((ids) => ids.length));
  const count = texts.length * length;
  const [ids, segments] = [new Int32Array(count), new Int32Array(count)];
  for (const [row, text] of texts.entries()) {
    ids.set(text, row * length);
    segments.fill(1, row * length, row * length + text.length);
  }
  return {
    ...{ rows: texts.length, length, ids, segments },
    labels: new Int32Array(count).fill(noLabel),
    labelled: {
      places: Int32Array.from(texts, (text, row) => row * length + classifiedPlace(text, padId)),
      labels: Int32Array.from(batch, ({ target }) => labels.indexOf(String(target))),
    },
  };
}
