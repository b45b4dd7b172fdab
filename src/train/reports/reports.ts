/** What a run tells other programs as it goes, under the names that Hugging Face's trainers use. Knows no file format. */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { isStepRow, type JournalRow } from "./journal.js";
import type { ScalarFile, Scalars } from "./scalars.js";
import { openEventFile } from "./tensorboard.js";
import { openWandbRun } from "./wandb.js";

/** Programs that read a run. */
export const reportTargets = ["tensorboard", "wandb"] as const;
export type ReportTarget = (typeof reportTargets)[number];

/** Of a run's folder, where its reports lie. */
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
  /** What was told of them. */
  readonly past: readonly JournalRow[];
}

/** Reports of a run from its next step on. */
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
    const { loss, rate, gradient_norm: norm, tokens } = row;
    return { "train/loss": loss, "train/learning_rate": rate, "train/grad_norm": norm, "train/tokens": tokens };
  }
  const { validation_loss: loss, validation_margin: margin, validation_accuracy: accuracy } = row;
  return {
    "eval/loss": loss,
    ...(margin === undefined ? {} : { "eval/rewards/margins": margin }),
    ...(accuracy === undefined ? {} : { "eval/rewards/accuracies": accuracy }),
  };
}
