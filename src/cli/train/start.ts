/** What a run starts from: the adapter of --init-from, and the steps of the run that it resumes. */

import { join } from "node:path";
import { LorikeetError } from "../../base/errors.js";
import { Checkpoints } from "../../train/files/checkpoints.js";
import { type RunRecord, readRecord } from "../../train/files/record.js";
import type { RunFolder } from "../../train/files/run-folder.js";
import { type AdapterSource, openNamedAdapter } from "../adapters/source.js";
import { flagName } from "../options/names.js";
import type { Terminal } from "../terminal.js";
import { UsageError } from "../usage.js";
import type { TrainFlags } from "./options.js";

/** null: the run starts with a new adapter. `model`: where its files are. Throws what `openNamedAdapter` throws. */
export async function openInitFrom(
  { initFrom }: TrainFlags,
  model: string,
  terminal: Terminal,
): Promise<AdapterSource | null> {
  if (initFrom === null) return null;
  return await openNamedAdapter(initFrom, { option: "--init-from", adapters: null, model }, terminal);
}

/** What to say of an option that differs from what the --init-from adapter has. */
export const keptFault = (name: string, asked: unknown, kept: unknown): string =>
  `--${flagName(name)} is ${asked}, but the adapter of --init-from keeps its own: ${kept}.`;

export interface ResumePoint {
  /** Steps done before; 0 for a new run. */
  readonly stepsDone: number;
  /** Whether the resumed run had ended. */
  readonly isExtended: boolean;
}

/** `resumed`: the run to continue, if any; `record`: of the new one. Throws `conflict` if they do not match. */
export async function resumePoint(resumed: RunFolder | null, record: RunRecord): Promise<ResumePoint> {
  const origin = resumed ? await resumed.origin() : null;
  if (origin === null) return { stepsDone: 0, isExtended: false };
  requireSame(await readRecord(origin), record);
  const stepsDone = (await Checkpoints.stepsIn(join(origin, "checkpoints"))).at(-1) ?? 0;
  return { stepsDone, isExtended: origin === resumed?.outputDir };
}

/** A run can only resume with the same model, data and adapter. */
function requireSame(before: Partial<RunRecord> | null, now: RunRecord): void {
  if (!before) return; // stopped before it wrote anything
  const same = (key: "base" | "data" | "init_from"): boolean =>
    JSON.stringify(before[key]) === JSON.stringify(now[key]);
  const names = { base: "base model", data: "data", init_from: "adapter of --init-from" } as const;
  const changed = (["base", "data", "init_from"] as const).filter((key) => !same(key)).map((key) => names[key]);
  if (changed.length === 0) return;
  throw new LorikeetError(
    "conflict",
    `The run cannot resume: the ${changed.join(" and the ")} has changed since it began. --overwrite starts over.`,
    { param: "--resume", found: changed },
  );
}

/** A finished run needs more steps, an unfinished one at least those that it has done. */
export function requireSteps(total: number, { stepsDone, isExtended }: ResumePoint): void {
  if (isExtended ? total > stepsDone : total >= stepsDone) return;
  const state = isExtended ? "has ended" : "stands";
  throw new UsageError([
    `The run ${state} after step ${stepsDone} of ${total}: --max-steps or --epochs must allow more.`,
  ]);
}
