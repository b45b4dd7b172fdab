/** A decoder's step and objective as a run sees them. */

import type { TokenBatch } from "./data/batch.js";
import type { BatchEvaluation, Objective, Stepper } from "./objectives.js";
import type { RunOptions } from "./step.js";
import type { Metrics, Trainable } from "./trainable.js";

export interface DecoderParts {
  readonly stepper: Stepper;
  readonly objective: Objective;
  /** Further inputs of a run, such as dropout masks. */
  readonly inputs?: ((batch: TokenBatch, step: number, run: number) => RunOptions["inputs"]) | undefined;
}

export function decoderTrainable({ stepper, objective, inputs }: DecoderParts): Trainable<TokenBatch> {
  return {
    values: stepper.values,
    gradients: stepper.gradients,
    count: objective.count,
    size: realTokens,
    async run(batch, { total, step, run, signal }) {
      const feed = await objective.feed(stepper, batch, total, signal);
      const more = new Map([...(feed.inputs ?? []), ...(inputs?.(batch, step, run) ?? [])]);
      return (await stepper.run(batch, { ...feed, inputs: more, signal })).loss;
    },
    async evaluate(batches, { signal, progress }) {
      const total = batches.reduce((sum, batch) => sum + objective.count(batch), 0);
      let sum: BatchEvaluation = { loss: 0 };
      for (const [i, batch] of batches.entries()) {
        signal.throwIfAborted();
        progress?.(i, batches.length);
        sum = added(sum, await objective.evaluate(stepper, batch, total, signal));
      }
      const { loss, ...metrics } = sum;
      return { loss, metrics: metrics as Metrics };
    },
  };
}

/** Parts of one mean. */
function added(sum: BatchEvaluation, { loss, margin, accuracy }: BatchEvaluation): BatchEvaluation {
  return {
    loss: sum.loss + loss,
    ...(margin === undefined ? {} : { margin: (sum.margin ?? 0) + margin }),
    ...(accuracy === undefined ? {} : { accuracy: (sum.accuracy ?? 0) + accuracy }),
  };
}

/** Tokens of a batch without padding. */
function realTokens({ segments, rows, length }: TokenBatch): number {
  return segments ? segments.reduce((count, segment) => count + (segment === 0 ? 0 : 1), 0) : rows * length;
}
