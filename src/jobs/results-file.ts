/** The figures of a job's steps as CSV, in the columns of OpenAI's result files. */
import type { JobEvent } from "./types.js";

const columns = ["step", "train_loss", "train_accuracy", "valid_loss", "valid_mean_token_accuracy"] as const;

/** A line for each step that has figures; a column is empty where a step has none. */
export function resultsCsv(events: readonly JobEvent[]): string {
  const rows = new Map<number, Readonly<Record<string, number>>>();
  for (const { data } of events) {
    if (data?.step === undefined) continue;
    rows.set(data.step, { ...rows.get(data.step), ...data });
  }
  const lines = [...rows.entries()]
    .sort(([a], [b]) => a - b)
    .map(([, row]) => columns.map((column) => row[column] ?? "").join(","));
  return `${[columns.join(","), ...lines].join("\n")}\n`;
}
