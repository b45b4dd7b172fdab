/** The adapters of a decoder: its weights are read where DoRA needs the length of an output's weights. */

import { composeMixture } from "../../adapter/cache/compose.js";
import type { HostAdapter } from "../../adapter/types.js";
import { AdapterWorker } from "../../adapter/worker/worker.js";
import { foldMagnitudes } from "../../engine/adapters/dora-gains.js";
import { storedModules } from "../../model/modules.js";
import type { Checkpoint } from "../../model/types.js";
import { WeightNorms } from "../../weights/norms.js";
import { GainCheck } from "./gain-check.js";
import { checkKeyOf, checkLimitsOf, openTier, type Tier, type TierOptions } from "./tier.js";

export interface AdapterTierOptions extends TierOptions {
  readonly checkpoint: Checkpoint;
}

export type AdapterTier = Tier<HostAdapter>;

/** Opens the folder, which is not scanned until `store.start`. Throws what opening the store throws. */
export async function openAdapterTier(options: AdapterTierOptions): Promise<AdapterTier> {
  const { checkpoint, reserved } = options;
  const modules = storedModules(checkpoint);
  const names = [...checkpoint.names, ...reserved];
  const loader = new AdapterWorker();
  const norms = new WeightNorms(checkpoint, { threads: 1 }); // steps use the other threads
  const gains = new GainCheck(modules, norms, checkLimitsOf(options));
  return await openTier<HostAdapter>(options, {
    modules,
    names,
    checkKey: checkKeyOf(checkpoint.fingerprint, names),
    checkFurther: (folder, { summary }) => gains.check(folder, summary),
    load: async (folder, loading, label) => foldMagnitudes(await loader.load(folder, modules, loading), norms, label),
    compose: composeMixture,
    [Symbol.asyncDispose]: async () => {
      await Promise.all([loader.close(), gains.close()]);
      await norms[Symbol.asyncDispose]();
    },
  });
}
