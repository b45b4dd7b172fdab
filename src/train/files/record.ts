/** `lorikeet.json`, the record of a run beside its result: base model, data, settings and results. */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { orMissing } from "../../base/durable.js";
import type { BaseDtype } from "../../engine/start.js";
import type { DataSet } from "../data/dataset.js";
import type { TrainSettings } from "../settings.js";
import type { Metrics } from "../trainable.js";

export const recordFile = "lorikeet.json";

export interface RunRecord {
  readonly base: { readonly name: string; readonly parameters: number; readonly dtype: BaseDtype };
  readonly data: {
    readonly digest: string;
    readonly files: readonly { readonly split: string; readonly name: string; readonly sha256: string }[];
    readonly counts: DataSet["counts"];
    readonly train_rows: number;
    readonly validation_rows: number;
  };
  readonly label_template: string;
  readonly labels: readonly string[];
  readonly settings: TrainSettings;
  /** Of task models. */
  readonly task?: TaskRecord;
  /** Of a task model that was trained whole: what its ONNX file does not say, in the form of a base's lorikeet.json. */
  readonly model?: Readonly<Record<string, unknown>>;
  /** Digest of the --init-from adapter. */
  readonly init_from: string | null;
  readonly results: RunResults | null;
  /** The command that trains it again, once it has ended, with paths as its card shows them. */
  readonly command?: string;
  readonly origin?: OriginRecord;
  readonly job?: JobOfRun;
  readonly test?: TestRecord;
}

/** The fine-tuning job of a server that a run was. */
export interface JobOfRun {
  readonly id: string;
  /** In ISO's form. */
  readonly created_at: string;
  /** As their owner named them; `data.files` has their digests. */
  readonly files: readonly { readonly split: string; readonly name: string; readonly rows: number }[];
  readonly hyperparameters: Readonly<Record<string, number>>;
  /** Of a checkpoint on the way: the step whose weights these are. */
  readonly checkpoint?: number;
}

/** Where the data comes from, in the author's words. A run does not know it: whoever publishes its result adds it. */
export interface OriginRecord {
  readonly data: string;
  /** Of the data. */
  readonly license: string | null;
  /** The recipe's path in the author's repository. */
  readonly recipe: string | null;
  /** What to run for the recipe, from getting the data to the result. */
  readonly commands: readonly string[];
  /** Some rows that the run was trained on. An input may be a picture as a `data:` URL. */
  readonly rows: readonly { readonly input: string; readonly output: string }[];
  /** Why there are no rows to show. */
  readonly withheld?: string;
}

/** How well the result does on rows that the run never saw, as its author measured it. */
export interface TestRecord {
  readonly rows: number;
  /** What a row is, in the plural. */
  readonly unit: string;
  /** null where the base cannot be asked, as for a head that it lacks. */
  readonly base_metrics: Metrics | null;
  readonly metrics: Metrics;
  /** What measured it. */
  readonly commands: readonly string[];
}

export interface TaskRecord {
  /** By Hugging Face's name. */
  readonly name: string;
  /** Paths of the modules that are saved whole. */
  readonly heads: readonly string[];
  /** Whether batch normalizations of the base keep their statistics. */
  readonly frozen_norms: boolean;
  /** Of tasks that are asked with numbers: what a request has. */
  readonly inputs?: readonly { readonly name: string; readonly datatype: string; readonly shape: readonly number[] }[];
  /** Of translators between several languages: those that a request may name. */
  readonly src_lang?: string;
  readonly tgt_lang?: string;
}

export interface RunResults {
  readonly ended: string;
  readonly steps: number;
  /** The step whose weights are the result: the last or the best. */
  readonly kept_step: number;
  readonly best_step: number | null;
  readonly best_validation_loss: number | null;
  readonly last_validation_loss: number | null;
  readonly tokens: number;
  readonly seconds: number;
  /** In ISO's form. */
  readonly finished_at?: string;
  readonly base_validation_loss: number | null;
  /** Of the weights that are the result. */
  readonly validation_loss: number | null;
  /** Of the saved weights, if saving rounds. */
  readonly written_validation_loss: number | null;
  /** Metrics of the base (or of fresh heads) and of the result, for tasks that have some. */
  readonly base_validation_metrics?: Metrics;
  readonly validation_metrics?: Metrics;
  /** Answers to some validation rows, of task models. */
  readonly samples?: readonly AnsweredRow[];
  readonly served_check: ServedCheck | null;
}

export interface AnsweredRow {
  readonly prompt: string;
  readonly expected: string;
  readonly before: string;
  readonly after: string;
}

/** Mean loss of some validation rows in the training graph and in the serving engine, over the same base weights. */
export interface ServedCheck {
  readonly rows: number;
  readonly trained: number;
  readonly served: number;
  /** |trained - served|. */
  readonly difference: number;
  readonly dtype: BaseDtype;
}

export async function writeRecord(folder: string, record: RunRecord): Promise<void> {
  await writeFile(join(folder, recordFile), `${JSON.stringify(record, null, 2)}\n`, { flush: true });
}

/** The record in a result's folder; null if it is missing or unreadable. */
export async function readRecord(folder: string): Promise<Partial<RunRecord> | null> {
  const text = await orMissing(readFile(join(folder, recordFile), "utf8"));
  if (text === null) return null;
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? value : null;
  } catch {
    return null;
  }
}
