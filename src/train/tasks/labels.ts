/** Which labels a head is trained for: the given ones, or the base's. */

import { LorikeetError } from "../../base/errors.js";

export interface LabelChoice {
  /** By the head's output. */
  readonly labels: readonly string[];
  /** Whether the head starts anew: its labels are not the base's. */
  readonly isFresh: boolean;
}

export interface LabelFacts {
  /** Of `--labels`; null: not given. */
  readonly given: readonly string[] | null;
  /** The base's names; null if it has none. */
  readonly base: readonly string[] | null;
  /** The outputs of the base's head. */
  readonly width: number;
  /** In the data. */
  readonly found: Iterable<string>;
}

/** Throws `data_invalid` for labels of the data that the head has no output for. */
export function chooseLabels({ given, base, width, found }: LabelFacts): LabelChoice {
  const named = base?.length === width ? base : Array.from({ length: width }, (_, i) => `LABEL_${i}`);
  const numbers = named.map((_, i) => String(i));
  const inData = [...new Set(found)].sort();
  if (given) {
    const missing = inData.filter((label) => !given.includes(label));
    if (missing.length > 0) throw unknownLabels(missing, given, "--labels names");
    return { labels: given, isFresh: given.join("\n") !== named.join("\n") };
  }
  if (inData.every((label) => named.includes(label))) return { labels: named, isFresh: false };
  // Data often has the index of a label in place of its name.
  if (inData.every((label) => numbers.includes(label))) return { labels: numbers, isFresh: false };
  throw unknownLabels(
    inData.filter((label) => !named.includes(label)),
    named,
    "the model has",
    ` For an adapter, --labels ${shownList(inData, ",")} makes a head for the data's own labels.`,
  );
}

/** The labels of rows as those of a new head, in order; null: the base has them all. Throws `data_invalid` for a single one. */
export function newLabels(inRows: Iterable<string>, base: readonly string[] | null): readonly string[] | null {
  const found = [...new Set(inRows)].sort();
  const known = new Set([...(base ?? []), ...(base ?? []).map((_, index) => String(index))]);
  if (found.every((label) => known.has(label))) return null;
  if (found.length > 1) return found;
  const message = `The rows have the single label ${JSON.stringify(found[0])}; a classifier is trained for two labels or more.`;
  throw new LorikeetError("data_invalid", message, { found: 1, allowed: 2 });
}

/** A softmax over one label is always 1. Throws `invalid_value`. */
export function requireSeveral(labels: readonly string[]): void {
  if (labels.length > 1) return;
  const message = `The head would have the single label ${labels.join()}; a classifier is trained for two labels or more, which --labels names.`;
  throw new LorikeetError("invalid_value", message, { param: "--labels", found: labels.length, allowed: 2 });
}

/** The rows of a model with a single label have a score, not a label. Throws `invalid_value`. */
export function requireSingle(labels: readonly string[]): void {
  if (labels.length === 1) return;
  const message = `The model scores by a single label; --labels names ${labels.length}, and one is allowed.`;
  throw new LorikeetError("invalid_value", message, { param: "--labels", found: labels.length, allowed: 1 });
}

function unknownLabels(
  missing: readonly string[],
  allowed: readonly string[],
  who: string,
  advice = "",
): LorikeetError {
  const message = `The data has the ${missing.length === 1 ? "label" : "labels"} ${shownList(missing, ", ")}; ${who} ${shownList(allowed, ", ")}.${advice}`;
  return new LorikeetError("data_invalid", message, { param: "--labels", found: missing, allowed });
}

const shownList = (labels: readonly string[], separator: string): string =>
  labels.length > 20
    ? `${labels.slice(0, 20).join(separator)}${separator}... (${labels.length})`
    : labels.join(separator);
