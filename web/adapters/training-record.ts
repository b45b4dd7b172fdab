/** Reads what `lorikeet train` writes about a run, `lorikeet.json`, as an adapter's card has it. Untrusted: anything may be missing. */
import { fieldOf } from "../client/errors.js";

/** A figure over held-out rows, of the base and with the adapter. */
export interface Score {
  readonly name: string;
  readonly before: number | null;
  readonly after: number | null;
}

/** What was answered to a held-out row. */
export interface AnsweredRow {
  readonly row: string;
  readonly expected: string;
  readonly before: string;
  readonly after: string;
}

export interface TrainingRecord {
  readonly samples: readonly AnsweredRow[];
  readonly scores: readonly Score[];
  readonly trainRows: number | null;
  readonly heldOutRows: number | null;
  readonly steps: number | null;
  readonly seconds: number | null;
}

/** null where there is nothing to show. */
export function readTraining(training: unknown): TrainingRecord | null {
  const [results, data] = [fieldOf(training, "results"), fieldOf(training, "data")];
  const scores = [
    { name: "loss", before: numberOf(results, "base_validation_loss"), after: numberOf(results, "validation_loss") },
    ...metricsOf(fieldOf(results, "base_validation_metrics"), fieldOf(results, "validation_metrics")),
  ].filter(({ after }) => after !== null);
  const record = {
    scores,
    samples: samplesOf(fieldOf(results, "samples")),
    trainRows: numberOf(data, "train_rows"),
    heldOutRows: numberOf(data, "validation_rows"),
    steps: numberOf(results, "steps"),
    seconds: numberOf(results, "seconds"),
  };
  return scores.length === 0 && record.steps === null ? null : record;
}

const mostSamples = 8;

function samplesOf(samples: unknown): AnsweredRow[] {
  const text = (value: unknown, name: string): string => String(fieldOf(value, name) ?? "");
  return (Array.isArray(samples) ? samples.slice(0, mostSamples) : []).map((each) => ({
    ...{ row: text(each, "prompt"), expected: text(each, "expected") },
    ...{ before: text(each, "before"), after: text(each, "after") },
  }));
}

function metricsOf(before: unknown, after: unknown): Score[] {
  if (typeof after !== "object" || after === null) return [];
  return Object.keys(after).map((name) => ({
    name: name.replaceAll("_", " "),
    before: numberOf(before, name),
    after: numberOf(after, name),
  }));
}

function numberOf(value: unknown, name: string): number | null {
  const found = fieldOf(value, name);
  return typeof found === "number" && Number.isFinite(found) ? found : null;
}
