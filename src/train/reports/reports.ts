/** Logs a run for other programs, under the metric names of Hugging Face's Trainer. */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { isStepRow, type JournalRow } from "./journal.js";
import type { ScalarFile, Scalars } from "./scalars.js";
import { openEventFile } from "./tensorboard.js";
import { openWandbRun } from "./wandb.js";

/** Programs to write logs for. */
export const reportTargets = ["tensorboard", "wandb"] as const;
export type ReportTarget = (typeof reportTargets)[number];

/** The subfolder of a run for reports. */
export const reportsFolder = "reports";

export interface Reports extends AsyncDisposable {
  add(row: JournalRow): Promise<void>;
}

export interface ReportedRun {
  /** The run's. */
  readonly folder: string;
  readonly name: string;
  readonly config: Readonly<Record<string, unknown>>;
  /** Steps done. */
  readonly step: number;
  /** What was logged for them. */
  readonly past: readonly JournalRow[];
}

/** Opens the logs of a run, from its next step on. */
export async function openReports(targets: readonly ReportTarget[], run: ReportedRun): Promise<Reports> {
  const path = join(run.folder, reportsFolder);
  if (targets.length > 0) await mkdir(path, { recursive: true });
  const past = run.past.map((row) => [row.step, scalarsOf(row)] as const);
  const openers: Readonly<Record<ReportTarget, () => Promise<ScalarFile>>> = {
    tensorboard: () => openEventFile(path, run.step + 1),
    wandb: () => openWandbRun(path, { ...run, past }),
  };
  const files: ScalarFile[] = [];
  for (const target of new Set(targets)) files.push(await openers[target]());
  return {
    async add(row) {
      for (const file of files) await file.add(row.step, scalarsOf(row));
    },
    async [Symbol.asyncDispose]() {
      for (const file of files) await file[Symbol.asyncDispose]();
    },
  };
}

function scalarsOf(row: JournalRow): Scalars {
  if (isStepRow(row)) {
    const { loss, learning_rate: rate, gradient_norm: norm, tokens } = row;
    return { "train/loss": loss, "train/learning_rate": rate, "train/grad_norm": norm, "train/tokens": tokens };
  }
  const { step: _, samples: __, validation_margin: margin, validation_accuracy: accuracy, ...figures } = row;
  const named = Object.entries(figures).map(([name, value]) => [`eval/${name.slice("validation_".length)}`, value]);
  return {
    ...Object.fromEntries(named),
    ...(margin === undefined ? {} : { "eval/rewards/margins": margin }),
    ...(accuracy === undefined
      ? {}
      : { [margin === undefined ? "eval/accuracy" : "eval/rewards/accuracies"]: accuracy }),
  };
}
