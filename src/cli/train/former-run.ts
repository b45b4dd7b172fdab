/** Reads the options of a run that an earlier version of Lorikeet began, under its former option names. */

import { isObject } from "../../base/json.js";
import type { RunRecord } from "../../train/files/record.js";
import { successorsOf } from "../options/former-names.js";

type Stored = Readonly<Record<string, unknown>>;

/**
 * The stored options, by flag name, under their current names. `record`: the run's own record. `given`: options of the
 * command that resumes it, which may change the number of steps.
 */
export function withPresentNames(stored: Stored, record: Partial<RunRecord> | null, given: Stored): Stored {
  const options: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(stored)) {
    if (key === "warm-up" || key === "warm-up-steps") continue;
    const [successor] = successorsOf(key);
    options[successor ?? key] = value;
  }
  const warmup = presentWarmup(stored, () => stepsOf(options, record, given));
  return warmup === null ? options : { ...options, "warmup-steps": warmup };
}

/** A run used to warm up over `warm-up`, a fraction of its steps, but over at least `warm-up-steps`. null: as by default. */
function presentWarmup(stored: Stored, steps: () => number | null): number | null {
  const fraction = numberOf(stored["warm-up"]);
  const least = numberOf(stored["warm-up-steps"]);
  if (fraction === null || least === null || (fraction === 0.03 && least === 5)) return null;
  if (fraction === 0) return least;
  const total = steps();
  if (total === null) return fraction < 1 ? fraction : least;
  return Math.max(least, Math.round(fraction * total));
}

/** null for packed rows, whose number only the data gives. */
function stepsOf(stored: Stored, record: Partial<RunRecord> | null, given: Stored): number | null {
  const steps = numberOf(given["max-steps"] ?? (given.epochs === undefined ? stored["max-steps"] : null));
  if (steps !== null) return steps;
  const options = { ...stored, ...given };
  const rows = isObject(record?.data) ? numberOf(record.data.train_rows) : null;
  const [epochs, batch, accumulated] = ["epochs", "batch-size", "gradient-accumulation-steps"].map((key) =>
    numberOf(options[key]),
  );
  if (rows === null || !epochs || !batch || !accumulated || options.packing === true) return null;
  return Math.max(1, Math.round(epochs * Math.ceil(rows / (batch * accumulated))));
}

/** Stored options are numbers; command-line options are strings. */
function numberOf(value: unknown): number | null {
  const number = typeof value === "string" ? Number(value) : value;
  return typeof number === "number" && Number.isFinite(number) ? number : null;
}
