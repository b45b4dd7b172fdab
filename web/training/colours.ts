/** Colours of jobs on a chart. */
import type { Job } from "../client/fine-tuning.js";

/** Of the stylesheet. */
const colours = ["run-0", "run-1", "run-2", "run-3"] as const;

/**
 * By the ids of the shown jobs. A job keeps its colour while others come and go: it follows from its place among `jobs`, which are listed newest
 * first. Only beside an older one of the same colour does it take another.
 */
export function coloursOf(
  jobs: readonly Pick<Job, "id">[],
  shown: readonly string[],
): ReadonlyMap<string, (typeof colours)[number]> {
  const found = new Map<string, (typeof colours)[number]>();
  for (const [place, { id }] of jobs.toReversed().entries()) {
    if (!shown.includes(id)) continue;
    const taken = [...found.values()];
    const ordered = colours.map((_, i) => colours[(place + i) % colours.length] ?? colours[0]);
    found.set(id, ordered.find((colour) => !taken.includes(colour)) ?? colours[0]);
  }
  return found;
}
