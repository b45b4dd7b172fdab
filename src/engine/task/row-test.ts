/** What this machine's kernels promise a task model, measured at start: do a row's bits depend on the rows beside it? */

import { at } from "../../base/list.js";
import type { BlockPlan } from "../../model/task/blocked/plan.js";
import type { TaskModule } from "../../model/task/target-modules.js";
import { TaskBank } from "./bank.js";
import type { RunRow, TaskRunner } from "./runner.js";
import type { Stacks } from "./stacks.js";
import { trialAdapter, trialModules, trialRow } from "./trial-adapters.js";
import type { Trial } from "./trial-inputs.js";
import type { TaskTensor } from "./types.js";

/** Compares rows that ran together with the same rows alone and in pairs. */
export async function rowsIndependent(
  runner: TaskRunner,
  trial: Trial,
  maxBatch: number,
  signal?: AbortSignal,
): Promise<boolean> {
  const rows = Array.from({ length: Math.min(4, maxBatch) }, (_, row) => trialRow(trial, row, 0));
  return await sameAlone(runner, rows, null, signal);
}

/**
 * The same for rows with two random adapters of different ranks, on every convolution and a few of the other modules. True if there is none.
 */
export async function adaptedRowsIndependent(
  runner: TaskRunner,
  trial: Trial,
  maxBatch: number,
  modules: readonly TaskModule[],
  blocks: BlockPlan | null,
  signal?: AbortSignal,
): Promise<boolean> {
  const chosen = trialModules(modules);
  if (chosen.length === 0 || maxBatch < 2) return true;
  const bank = new TaskBank({ modules, maxPlaces: ranks.length, maxBytes: Number.POSITIVE_INFINITY, blocks });
  const { stacks, places } = await bank.place(ranks.map((rank) => trialAdapter(chosen, rank)));
  const rows = Array.from({ length: Math.min(4, maxBatch) }, (_, row) => trialRow(trial, row, at(places, row % 2)));
  try {
    return await sameAlone(runner, rows, stacks, signal);
  } finally {
    await runner.forgetAdapted();
  }
}

const ranks = [8, 3];

async function sameAlone(
  runner: TaskRunner,
  rows: readonly RunRow[],
  stacks: Stacks | null,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const together = await runner.run(rows, stacks, signal);
  for (const [index, row] of rows.entries()) {
    const alone = at(await runner.run([row], stacks, signal), 0);
    const pair =
      rows.length > 1 ? at(await runner.run([at(rows, (index + 1) % rows.length), row], stacks, signal), 1) : alone;
    if (![alone, pair].every((other) => sameBits(at(together, index), other))) return false;
  }
  return true;
}

function sameBits(a: ReadonlyMap<string, TaskTensor>, b: ReadonlyMap<string, TaskTensor>): boolean {
  return [...a].every(([name, { data }]) => {
    const other = b.get(name)?.data;
    return (
      other?.length === data.length && data.every((value: number | bigint, i: number) => Object.is(value, other[i]))
    );
  });
}
