/** What a validation does with a few rows beside the loss: answers for people to read, and metrics that need whole answers. */

import type { Metrics, Sample } from "../trainable.js";
import type { Outputs, TaskExample } from "./types.js";

export interface Assessment {
  /** Runs of batches of this size that it takes at most. */
  runs(batchSize: number): number;
  /** Throws what a run throws. */
  assess(examples: readonly TaskExample[], context: AssessContext): Promise<Assessed>;
}

export interface AssessContext {
  /** Outputs for these sources, at most a batch of them, by the present weights, beside the model's inputs. */
  predict(sources: readonly unknown[]): Promise<Outputs>;
  readonly batchSize: number;
}

export interface Assessed {
  readonly metrics: Metrics;
  readonly samples: readonly Sample[];
}

/** Rows of which whole answers are measured. */
export const measuredRows = 16;
const shownRows = 2;

/** Rows spread evenly over all. */
export function spread<T>(rows: readonly T[], most: number): T[] {
  const count = Math.min(rows.length, most);
  return rows.filter((_, i) => Math.floor(((i + 1) * count) / rows.length) > Math.floor((i * count) / rows.length));
}

export const chooseShown = <T>(rows: readonly T[]): T[] => spread(rows, shownRows);

export interface ShownAnswer {
  /** The source, for people. */
  describe(example: TaskExample): string;
  /** What the outputs say about a row. */
  answer(outputs: Outputs, row: number, example: TaskExample): string;
  /** What they should say. Default: the target. */
  expected?(example: TaskExample): string;
}

/** Shows the answers that one run gives. */
export function shownAnswers({ describe, answer, expected = targetOf }: ShownAnswer): Assessment {
  return {
    runs: () => 1,
    async assess(examples, { predict, batchSize }) {
      const shown = chooseShown(examples).slice(0, batchSize);
      const outputs = await predict(shown.map(({ source }) => source));
      const samples = shown.map((example, row) => ({
        prompt: describe(example),
        expected: expected(example),
        answer: answer(outputs, row, example),
      }));
      return { metrics: {}, samples };
    },
  };
}

const targetOf = ({ target }: TaskExample): string => (typeof target === "string" ? target : JSON.stringify(target));
