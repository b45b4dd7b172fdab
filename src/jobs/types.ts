/** What a fine-tuning API keeps: files, jobs, their events and checkpoints. Times are milliseconds since 1970. */
import type { LorikeetError } from "../base/errors.js";

export type FilePurpose = "fine-tune" | "fine-tune-results" | "user_data";

export interface StoredFile {
  readonly id: string;
  /** Only its owner finds it. */
  readonly owner: string;
  readonly filename: string;
  readonly purpose: FilePurpose;
  readonly bytes: number;
  /** Lines that are not blank: the rows of a JSONL file. */
  readonly lines: number;
  readonly createdAt: number;
  readonly expiresAt: number;
}

export type JobStatus = "validating_files" | "queued" | "running" | "paused" | "succeeded" | "failed" | "cancelled";

/** Numbers that a run is given; what a client leaves open has been chosen. */
export interface Hyperparameters {
  readonly epochs: number;
  /** Rows, or pairs, of an optimizer step. */
  readonly batchSize: number;
  /** Times the default learning rate of the method and the base's size. */
  readonly learningRateMultiplier: number;
  /** Of preferences; null for others. */
  readonly beta: number | null;
}

export interface JobRequest {
  /** As the client wrote it: one of a base's names. */
  readonly model: string;
  /** By Hugging Face's name; null, or absent from jobs of earlier servers: what is usual for the base. */
  readonly task?: string | null;
  readonly method: "supervised" | "dpo";
  /** null: chosen by the number of rows. */
  readonly hyperparameters: { readonly [Name in keyof Hyperparameters]: Hyperparameters[Name] | null };
  readonly trainingFile: string;
  readonly validationFile: string | null;
  readonly suffix: string | null;
  /** null: a random one. */
  readonly seed: number | null;
  readonly metadata: Readonly<Record<string, string>> | null;
}

export interface JobFault {
  readonly code: string;
  readonly message: string;
  readonly param: string | null;
}

/** Figures at a step. Losses are means over labels, or over pairs with preferences; accuracies are shares of labels, or of pairs. */
export interface StepFigures {
  readonly step: number;
  readonly trainLoss: number | null;
  readonly trainAccuracy: number | null;
  readonly validLoss: number | null;
  readonly validAccuracy: number | null;
}

export interface JobCheckpoint {
  readonly id: string;
  readonly createdAt: number;
  /** The adapter that has its weights. */
  readonly adapter: string;
  readonly figures: StepFigures;
}

/** Held-out losses of the base alone and with the trained adapter. */
export interface HeldOut {
  readonly rows: number;
  readonly before: number;
  readonly after: number;
}

export interface JobRecord extends Omit<JobRequest, "hyperparameters" | "seed"> {
  readonly id: string;
  readonly owner: string;
  readonly hyperparameters: Hyperparameters;
  readonly seed: number;
  readonly status: JobStatus;
  readonly createdAt: number;
  readonly finishedAt: number | null;
  /** While it runs. */
  readonly estimatedFinish: number | null;
  readonly error: JobFault | null;
  /** The adapter that it has published. */
  readonly adapter: string | null;
  readonly resultFiles: readonly string[];
  readonly trainedTokens: number | null;
  readonly heldOut: HeldOut | null;
  readonly checkpoints: readonly JobCheckpoint[];
  /** Absent from jobs of earlier servers. */
  readonly files?: readonly JobFile[];
  /** Which step's weights were published. */
  readonly kept?: KeptStep | null;
}

/** Which step's weights are the result, of how many, and why. */
export interface KeptStep {
  readonly step: number;
  readonly steps: number;
  /** The last step, or the one with the best validation. */
  readonly reason: "last" | "best";
  /** The step with the best validation; null without validation. */
  readonly best: number | null;
}

export interface JobEvent {
  readonly id: string;
  readonly createdAt: number;
  readonly level: "info" | "warn" | "error";
  readonly message: string;
  /** Figures of a step; null for a message. */
  readonly data: Readonly<Record<string, number>> | null;
  /** Of a message that shows what the adapter answers. */
  readonly samples?: readonly SampleAnswer[];
  /** The step after which it answers so; absent at the end of the training. */
  readonly sampledStep?: number;
}

/** Greedy answers to the beginning of a row, by the base alone and with the trained adapter. */
export interface SampleAnswer {
  /** The end of a long one. */
  readonly prompt: string;
  readonly before: string;
  readonly after: string;
}

/** A file of a job, as its owner named it. */
export interface JobFile {
  readonly split: "train" | "valid";
  readonly name: string;
  readonly rows: number;
}

/** Where a run comes from, for the card of its adapter. */
export interface RunOrigin {
  readonly job: string;
  readonly createdAt: number;
  readonly files: readonly JobFile[];
  /** Whether the card, which every key may read, shows a few short rows. */
  readonly showsRows: boolean;
}

/** What a process trains, or continues to train if an earlier one was stopped. Paths are absolute. */
export interface TrainingRun {
  /** Holds train.jsonl and, with a validation file, valid.jsonl. */
  readonly data: string;
  /** Where the product appears. What the run needs until then lies beside it. */
  readonly output: string;
  /** Of the adapter that the job publishes. */
  readonly name: string;
  /** What it is for, in the words of the job's owner; null: its card says only how it was trained. */
  readonly description: string | null;
  readonly origin: RunOrigin;
  /** By Hugging Face's name. */
  readonly task: string;
  readonly method: JobRequest["method"];
  readonly hyperparameters: Hyperparameters;
  readonly seed: number;
}

/** What a process reports while it runs. */
export type TrainingReport =
  /** The data is valid, and the run fits into memory. */
  | {
      readonly type: "opened";
      readonly steps: number;
      readonly trainRows: number;
      readonly validRows: number;
      readonly warnings: readonly string[];
    }
  /** After how many steps the run goes on. */
  | { readonly type: "started"; readonly step: number }
  | { readonly type: "step"; readonly figures: StepFigures; readonly rate: number }
  | { readonly type: "validation"; readonly figures: StepFigures }
  /** `step`: null at the end of the training. */
  | { readonly type: "samples"; readonly step: number | null; readonly samples: readonly SampleAnswer[] };

export type TrainingEnd =
  | { readonly type: "done"; readonly product: TrainingProduct }
  /** Stopped; a later process continues it. */
  | { readonly type: "stopped" }
  | { readonly type: "failed"; readonly fault: JobFault };

export interface TrainingProduct {
  readonly kept: KeptStep;
  readonly tokens: number;
  readonly heldOut: HeldOut | null;
  /** Folders of adapters at earlier steps, in order. */
  readonly checkpoints: readonly { readonly step: number; readonly folder: string }[];
}

/** A process that trains. */
export interface TrainingProcess {
  readonly ended: Promise<TrainingEnd>;
  /** Asks it to save and end. */
  stop(): void;
  /** Ends it at once. */
  kill(): void;
  /** Takes the processors from it, and gives them back. */
  suspend(): void;
  proceed(): void;
}

/** A base model that jobs can train adapters for. */
export interface TrainableBase {
  /** What a job's `model` may say; the first is its name in the names of products. */
  readonly names: readonly [string, ...string[]];
  /** What its jobs train, by Hugging Face's names; the first is the usual one. */
  readonly tasks: readonly [string, ...string[]];
  readonly methods: readonly JobRequest["method"][];
  /** Starts a process, or one that continues what an earlier one left in the run's folder. */
  start(run: TrainingRun, report: (report: TrainingReport) => void): TrainingProcess;
  /** Checks the folder of a job's adapter, stores a copy and points the name at it. Throws what the check throws. */
  publish(name: string, folder: string, job: string): Promise<void>;
  /** Why no run can start, and whether one could when other work has ended; null: there is memory for one. */
  memoryFault(): { readonly fault: LorikeetError; readonly isPassing: boolean } | null;
}
