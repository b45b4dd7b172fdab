/** What runs of jobs share, whatever kind of base they train. */

import { hasCode } from "../../base/errors.js";
import type { TrainingReport, TrainingRun } from "../../jobs/types.js";
import type { CardFacts } from "../../train/card/facts.js";
import type { Fields } from "../../train/data/rows.js";
import type { RunRecord } from "../../train/files/record.js";
import type { RunFolder } from "../../train/files/run-folder.js";
import type { RunEvents, RunOptions } from "../../train/run.js";
import type { RunSession } from "../../train/run-session.js";
import type { TrainSettings } from "../../train/settings.js";
import { resolveSettings } from "../options/settings.js";
import type { Terminal } from "../terminal.js";
import { type TrainFlags, trainOptions } from "../train/options.js";
import type { TrainingBase } from "./messages.js";
import type { ShownRow } from "./shown-rows.js";

export interface RunRequest {
  readonly base: TrainingBase;
  readonly run: TrainingRun;
  /** The options of the run that is continued; null: it starts. */
  readonly begun: Readonly<Record<string, unknown>> | null;
  readonly folder: RunFolder;
  readonly report: (report: TrainingReport) => void;
  readonly signal: AbortSignal;
}

export interface OpenedRun<Batch> extends AsyncDisposable {
  readonly flags: TrainFlags;
  readonly settings: TrainSettings;
  readonly session: RunSession<Batch>;
  readonly record: RunRecord;
  readonly warnings: readonly string[];
  /** What a row of the file asks and answers; null for one that no card can show. */
  textsOf(fields: Fields): ShownRow | null;
  /** Short texts to try the adapter with. `rows`: those that its card shows. */
  examples(rows: readonly ShownRow[]): Promise<CardFacts["examples"]>;
  readonly own: Pick<RunOptions<Batch>, "comparison" | "sampling" | "keepsSamples">;
  /** Besides those that every run reports. */
  readonly events: RunEvents;
}

/** Checkpoints that stay, besides the best one. */
const keptCheckpoints = 3;
/** Times that a run answers samples before its end, at most. */
const mostSamplings = 4;

/** Steps between two sets of sample answers: those of every validation, or of every few. */
export function samplingInterval({
  totalSteps,
  validateEvery,
}: Pick<RunSession<never>, "totalSteps" | "validateEvery">): number {
  return validateEvery * Math.ceil(Math.ceil(totalSteps / validateEvery) / mostSamplings);
}

/** The numbers of rows, up to `most`, that divide a step of `rows`; ascending. */
export const equalParts = (rows: number, most: number): number[] =>
  Array.from({ length: Math.min(most, rows) }, (_, i) => i + 1).filter((part) => rows % part === 0);

/** Rows of a decoder in one forward and backward pass, at most: a step of more rows accumulates gradients. */
const maxRowsAtOnce = 8;

/** Opens a decoder's run with as many rows at once as memory allows: the fastest way to compute a step of `rows` first, the one with the least memory last. */
export async function firstThatFits<Opened>(
  rows: number,
  open: (choice: Readonly<Record<string, unknown>>) => Promise<Opened>,
): Promise<Opened> {
  const parts = equalParts(rows, maxRowsAtOnce).reverse();
  const split = parts.map((part) => ({ "batch-size": part, "gradient-accumulation-steps": rows / part }));
  const least = { ...split.at(-1), "gradient-checkpointing": true };
  for (const choice of split) {
    try {
      return await open(choice);
    } catch (error) {
      if (!hasCode(error, "out_of_memory")) throw error;
    }
  }
  return await open(least);
}

/** Options of `train`, as a config file has them. */
export function sharedOptions(base: TrainingBase, run: TrainingRun): Readonly<Record<string, unknown>> {
  return {
    model: base.folder,
    threads: base.threads,
    data: run.data,
    "output-dir": run.output,
    epochs: run.hyperparameters.epochs,
    seed: run.seed,
    "max-time": `${base.maxTimeMs}ms`,
    "save-total-limit": keptCheckpoints,
  };
}

export const flagsFrom = (file: Readonly<Record<string, unknown>>): TrainFlags =>
  resolveSettings(trainOptions, { flags: {}, environment: {}, file, filePath: "the job" });

/** The process prints nothing. */
export const silentTerminal: Terminal = {
  stdout: { write: () => true },
  stderr: { write: () => true },
  environment: {},
  onSignal: () => () => {},
  onCrash: () => () => {},
  exitNow: () => {},
};
