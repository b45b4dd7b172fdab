/** The adapters of a task model. */

import type { HostTaskAdapter } from "../../adapter/types.js";
import { AdapterWorker } from "../../adapter/worker/worker.js";
import { Semaphore } from "../../base/async.js";
import { LorikeetError } from "../../base/errors.js";
import { foldAdapter } from "../../engine/task/folded.js";
import { type TaskTarget, taskTargetsKey } from "../../model/task/adapter-targets.js";
import type { TaskModule } from "../../model/task/target-modules.js";
import { checkKeyOf, checkLimitsOf, openTier, type Tier, type TierOptions } from "./tier.js";

export interface TaskTierOptions extends TierOptions {
  /** The model's names, besides the reserved ones. */
  readonly names: readonly string[];
  readonly modules: readonly TaskModule[];
  /** The same modules as adapters see them. */
  readonly targets: readonly TaskTarget[];
}

export type TaskAdapterTier = Tier<HostTaskAdapter>;

/** Opens the folder, which is not scanned until `store.start`. Throws what opening the store throws. */
export async function openTaskAdapterTier(options: TaskTierOptions): Promise<TaskAdapterTier> {
  const { targets, modules, reserved } = options;
  const names = [...options.names, ...reserved];
  const { limits, timeoutMs } = checkLimitsOf(options);
  const loader = new AdapterWorker();
  // Apart from the thread that loads for requests.
  const trial = new AdapterWorker({ atOnce: 1, deadlineMs: timeoutMs });
  /** One adapter in memory at a time. */
  const turn = new Semaphore(1);
  return await openTier<HostTaskAdapter>(options, {
    modules: { targets },
    names,
    checkKey: checkKeyOf(taskTargetsKey(targets), names),
    // Folds it with the base as the engine does, and discards the result: a bad adapter is refused at upload, not at first use.
    checkFurther: (folder, { summary: { alphas } }) =>
      turn.run(async () => {
        const loaded = await trial.loadTask(folder, targets, { limits, ...(alphas && { alphas }) });
        await foldAdapter(loaded, modules);
      }),
    load: (folder, loading) => loader.loadTask(folder, targets, loading),
    compose: async () => {
      throw new LorikeetError("adapter_unsupported", "Adapters of task models are not mixed; name one adapter.");
    },
    [Symbol.asyncDispose]: async () => {
      await Promise.all([loader.close(), trial.close()]);
    },
  });
}
