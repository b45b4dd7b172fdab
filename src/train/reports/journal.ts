/** `training.jsonl`: a row per step and per validation. */

import { once } from "node:events";
import { createWriteStream, type WriteStream } from "node:fs";
import { readFile, rename, writeFile } from "node:fs/promises";
import { orMissing } from "../../base/durable.js";
import type { Sample } from "../trainable.js";

export interface StepRow {
  readonly step: number;
  readonly loss: number;
  readonly learning_rate: number;
  readonly gradient_norm: number;
  readonly tokens: number;
  readonly seconds: number;
}

export interface ValidationRow {
  readonly step: number;
  readonly validation_loss: number;
  /** Further figures: margin and accuracy of DPO, metrics of a task. */
  readonly [metric: `validation_${string}`]: number;
  readonly samples?: readonly Sample[];
}

export type JournalRow = StepRow | ValidationRow;

export const isStepRow = (row: JournalRow): row is StepRow => "loss" in row;

export class Journal implements AsyncDisposable {
  readonly #stream: WriteStream;
  #fault: Error | null = null;

  private constructor(stream: WriteStream) {
    this.#stream = stream;
    stream.on("error", (error) => {
      this.#fault = error;
    });
  }

  /** Opens the file and removes rows after `state`, which will be repeated. */
  static async open(path: string, state: { readonly step: number; readonly validatedAt: number }): Promise<Journal> {
    const kept = (await readJournal(path)).filter(
      (row) => row.step <= (isStepRow(row) ? state.step : state.validatedAt),
    );
    await writeFile(`${path}.draft`, kept.map((row) => `${JSON.stringify(row)}\n`).join(""));
    await rename(`${path}.draft`, path);
    return new Journal(createWriteStream(path, { flags: "a" }));
  }

  /** Rejects with an earlier write error. */
  async add(row: JournalRow): Promise<void> {
    if (this.#fault) throw this.#fault;
    if (!this.#stream.write(`${JSON.stringify(row)}\n`)) await once(this.#stream, "drain");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await new Promise<void>((resolve) => this.#stream.end(resolve));
  }
}

/** The rows of a file, under present field names, without a last line that was cut off by a crash. */
export async function readJournal(path: string): Promise<JournalRow[]> {
  const text = (await orMissing(readFile(path, "utf8"))) ?? "";
  return text.split("\n").flatMap((line): JournalRow[] => {
    try {
      const value: unknown = JSON.parse(line);
      return isRow(value) ? [withPresentNames(value)] : [];
    } catch {
      return [];
    }
  });
}

/** Earlier versions wrote the learning rate as `rate`. */
function withPresentNames(row: JournalRow): JournalRow {
  if (!("rate" in row) || typeof row.rate !== "number") return row;
  const { rate, ...others } = row;
  return { ...others, learning_rate: rate };
}

function isRow(value: unknown): value is JournalRow {
  return (
    typeof value === "object" && value !== null && "step" in value && ("loss" in value || "validation_loss" in value)
  );
}
