/** Checks and records that every run of `train` has, whatever it trains. */

import { basename } from "node:path";
import { LorikeetError } from "../../base/errors.js";
import type { DataCounts } from "../../train/data/dataset.js";
import type { RunRecord } from "../../train/files/record.js";
import type { TrainSettings } from "../../train/settings.js";
import { freeMemory, usableMemory } from "../machine.js";
import { flagName } from "../options/names.js";
import { UsageError } from "../usage.js";
import { type TrainFlags, trainOptions } from "./options.js";

/** Rejects options that were given and would be ignored. `why`: the rest of a sentence. */
export function refuseGiven(flags: TrainFlags, names: readonly (keyof TrainFlags)[], why: string): void {
  const isGiven = (name: keyof TrainFlags): boolean => {
    const option = trainOptions[name];
    return flags[name] !== null && String(flags[name]) !== ("fallback" in option ? String(option.fallback) : "");
  };
  const given = names.filter(isGiven);
  if (given.length > 0) throw new UsageError(given.map((name) => `--${flagName(name)} ${why}`));
}

export function requireLength(length: number, most: number): void {
  if (length <= most) return;
  throw new UsageError([`--max-length ${length} is more than the ${most} tokens that the model supports.`]);
}

export function requireDigest(allowed: string | null, found: string): void {
  if (allowed === null || allowed === found) return;
  throw new LorikeetError("data_invalid", `The data is ${found}, not the ${allowed} of --data-digest.`, {
    param: "--data-digest",
    found,
    allowed,
  });
}

/** Without validation rows there are no best weights, so options about them are rejected. */
export function requireValidation(
  { earlyStoppingPatience: patience, loadBestModelAtEnd }: TrainFlags,
  { valid }: { readonly valid: readonly unknown[] },
): void {
  if (valid.length > 0 || (patience === null && !loadBestModelAtEnd)) return;
  const name = patience === null ? "--load-best-model-at-end" : "--early-stopping-patience";
  throw new UsageError([`${name} needs validation rows: add a valid file or set --validation-split.`]);
}

/** What a run reads and does, before it has results. */
export interface RunFacts {
  readonly base: RunRecord["base"];
  readonly settings: TrainSettings;
  readonly data: {
    readonly digest: string;
    readonly files: readonly { readonly split: string; readonly path: string; readonly sha256: string }[];
    readonly counts: DataCounts;
    readonly train: readonly unknown[];
    readonly valid: readonly unknown[];
  };
  readonly labels: readonly string[];
  /** Digest of the --init-from adapter. */
  readonly initFrom: string | null;
  readonly task?: RunRecord["task"];
  readonly model?: RunRecord["model"];
}

export function recordOf({ base, settings, data, labels, initFrom, task, model }: RunFacts): RunRecord {
  return {
    base,
    data: {
      digest: data.digest,
      files: data.files.map(({ split, path, sha256 }) => ({ split, name: basename(path), sha256 })),
      counts: data.counts,
      train_rows: data.train.length,
      validation_rows: data.valid.length,
    },
    label_template: settings.labelTemplate,
    labels,
    settings,
    ...(task ? { task } : {}),
    ...(model ? { model } : {}),
    init_from: initFrom,
    results: null,
  };
}

/** Total memory that this process may use: what is free, plus what it uses already. */
export const memoryForRun = (): number => Math.min(usableMemory(), freeMemory() + process.memoryUsage.rss());
