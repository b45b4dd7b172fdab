/** What this machine's kernels promise a task model, measured at start: do a row's bits depend on the rows beside it? */

import { at } from "../../base/list.js";
import type { Tensor } from "../../runtime/tensor.js";
import type { RunRow, TaskRunner } from "./runner.js";
import type { TrialInputs } from "./trial-inputs.js";
import type { TaskTensor } from "./types.js";

/** Compares rows that ran together with the same rows alone and in pairs. */
export async function rowsIndependent(runner: TaskRunner, trial: TrialInputs, maxBatch: number): Promise<boolean> {
  const rows = Array.from({ length: Math.min(4, maxBatch) }, (_, row) => rowOf(trial.of([row])));
  const together = await runner.run(rows, null);
  for (const [index, row] of rows.entries()) {
    const alone = at(await runner.run([row], null), 0);
    const pair = rows.length > 1 ? at(await runner.run([at(rows, (index + 1) % rows.length), row], null), 1) : alone;
    if (![alone, pair].every((other) => sameBits(at(together, index), other))) return false;
  }
  return true;
}

const rowOf = (inputs: ReadonlyMap<string, Tensor>): RunRow => ({ inputs, place: 0 });

function sameBits(a: ReadonlyMap<string, TaskTensor>, b: ReadonlyMap<string, TaskTensor>): boolean {
  return [...a].every(([name, { data }]) => {
    const other = b.get(name)?.data;
    return (
      other?.length === data.length && data.every((value: number | bigint, i: number) => Object.is(value, other[i]))
    );
  });
}
