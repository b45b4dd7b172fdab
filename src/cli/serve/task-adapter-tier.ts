/** The adapters of a task model. */

import type { HostTaskAdapter } from "../../adapter/types.js";
import { AdapterWorker } from "../../adapter/worker/worker.js";
import { Semaphore } from "../../base/async.js";
import { LorikeetError } from "../../base/errors.js";
import { gainWarnings } from "../../engine/adapters/idle-gains.js";
import { foldAdapter } from "../../engine/task/folded.js";
import { type TaskTarget, taskTargetsKey } from "../../model/task/adapter-targets.js";
import type { TaskModule } from "../../model/task/target-modules.js";
import type { AdapterFolder } from "./adapter-folder.js";
import { checkKeyOf, checkLimitsOf, type Tier, type TierBudget } from "./tier.js";

export type TaskAdapterTier = Tier<HostTaskAdapter>;

/** A task model as its adapters see it. */
export interface AdaptedTask {
  /** Of its folder or file. */
  readonly path: string;
  /** Besides the served one. */
  readonly names: readonly string[];
  readonly modules: readonly TaskModule[];
  /** The same modules as adapters see them. */
  readonly targets: readonly TaskTarget[];
  readonly task: string;
}

/** Joins the folder, which is not scanned until its store starts. Throws what opening the store throws. */
export async function joinTask(
  folder: AdapterFolder,
  name: string,
  { modules, targets, task, ...base }: AdaptedTask,
  budget: TierBudget,
): Promise<TaskAdapterTier> {
  const names = [...base.names, name];
  const { limits, timeoutMs } = checkLimitsOf(folder.validation);
  const loader = new AdapterWorker();
  // Apart from the thread that loads for requests.
  const trial = new AdapterWorker({ atOnce: 1, deadlineMs: timeoutMs });
  /** One adapter in memory at a time. */
  const turn = new Semaphore(1);
  return await folder.join<HostTaskAdapter>(
    name,
    {
      path: base.path,
      modules: { targets, task },
      names,
      checkKey: checkKeyOf(taskTargetsKey(targets, task), names),
      // Folds it with the base as the engine does, and discards the result: a bad adapter is refused at upload, not at first use.
      checkFurther: (path, { summary: { alphas } }) =>
        turn.run(async () => {
          const loaded = await trial.loadTask(path, targets, { limits, ...(alphas && { alphas }) });
          const { modules: folded } = await foldAdapter(loaded, modules);
          const isMore = [...folded.values()].some(({ whole }) => whole !== null);
          return gainWarnings(folded.values(), isMore);
        }),
      load: (path, loading) => loader.loadTask(path, targets, loading),
      compose: async () => {
        throw new LorikeetError("adapter_unsupported", "Adapters of task models are not mixed; name one adapter.");
      },
      [Symbol.asyncDispose]: async () => {
        await Promise.all([loader.close(), trial.close()]);
      },
    },
    budget,
  );
}
