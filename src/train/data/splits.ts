/** Divides data into rows for training and validation, and names it by its content. */

import { createHash } from "node:crypto";
import { Draws, purposes } from "../random.js";
import type { SplitName } from "./folder.js";

export interface SplitOptions {
  readonly seed: number;
  readonly validationSplit: number;
  readonly maxEvalSamples: number;
}

/**
 * Holds out validation rows if the data has no valid file; of plain texts, the last windows. A group's rows stay together, since they
 * contain each other's answers.
 */
export function holdOut<T>(
  train: readonly (readonly T[])[],
  given: readonly (readonly T[])[],
  { seed, validationSplit, maxEvalSamples }: SplitOptions,
  isText: (group: readonly T[]) => boolean = () => false,
): { train: readonly T[]; valid: readonly T[] } {
  if (given.length > 0) {
    const rows = given.flat();
    return { train: train.flat(), valid: pick(rows, Math.min(rows.length, maxEvalSamples), seed).chosen };
  }
  const groups = train.filter((group) => group.length > 0);
  const count = Math.min(maxEvalSamples, Math.floor(groups.length * validationSplit));
  if (groups.every(isText)) {
    const border = groups.length - count;
    return { train: groups.slice(0, border).flat(), valid: groups.slice(border).flat() };
  }
  const { chosen, others } = pick(groups, count, seed);
  return { train: others.flat(), valid: chosen.flat().slice(0, maxEvalSamples) };
}

/** Picks `count` items at random. Both parts keep their order. */
function pick<T>(items: readonly T[], count: number, seed: number): { chosen: T[]; others: T[] } {
  const order = new Draws(seed, purposes.split).permutation(items.length);
  const taken = new Set(order.subarray(0, count));
  return { chosen: items.filter((_, i) => taken.has(i)), others: items.filter((_, i) => !taken.has(i)) };
}

/** `sha256:` and the digest of the files' digests, in the order train, valid, test. */
export function digestOf(files: readonly { readonly split: SplitName; readonly sha256: string }[]): string {
  const ordered = (["train", "valid", "test"] as const).flatMap((split) =>
    files.filter((file) => file.split === split).map(({ sha256 }) => `${split} ${sha256}`),
  );
  return `sha256:${createHash("sha256").update(ordered.join("\n")).digest("hex")}`;
}
