/** Chooses what a job leaves open, by the number of its rows. */
import type { Hyperparameters, JobRequest } from "./types.js";

/** Few rows take small steps and several passes, so that a run has about a hundred steps; many take three passes. */
export function chooseHyperparameters(
  { method, hyperparameters: asked }: Pick<JobRequest, "method" | "hyperparameters">,
  rows: number,
): Hyperparameters {
  const batchSize = asked.batchSize ?? clamp(Math.floor(rows / 25), 1, 16);
  return {
    batchSize,
    epochs: asked.epochs ?? clamp(Math.ceil((100 * batchSize) / Math.max(rows, 1)), 3, 10),
    learningRateMultiplier: asked.learningRateMultiplier ?? 1,
    beta: method === "dpo" ? (asked.beta ?? 0.1) : null,
  };
}

const clamp = (value: number, least: number, most: number): number => Math.min(most, Math.max(least, value));
