/** The adapters of a decoder: its weights are read where DoRA needs the length of an output's weights. */

import { composeMixture } from "../../adapter/cache/compose.js";
import type { HostAdapter } from "../../adapter/types.js";
import { AdapterWorker } from "../../adapter/worker/worker.js";
import { foldMagnitudes } from "../../engine/adapters/dora-gains.js";
import { storedModules } from "../../model/modules.js";
import type { Checkpoint } from "../../model/types.js";
import { WeightNorms } from "../../weights/norms.js";
import type { AdapterFolder } from "./adapter-folder.js";
import { GainCheck } from "./gain-check.js";
import { checkKeyOf, checkLimitsOf, type Tier, type TierBudget } from "./tier.js";

export type AdapterTier = Tier<HostAdapter>;

/** Joins the folder, which is not scanned until its store starts. Throws what opening the store throws. */
export async function joinDecoder(
  folder: AdapterFolder,
  name: string,
  checkpoint: Checkpoint,
  budget: TierBudget,
): Promise<AdapterTier> {
  const modules = storedModules(checkpoint);
  const names = [...checkpoint.names, name];
  const loader = new AdapterWorker();
  const norms = new WeightNorms(checkpoint, { threads: 1 }); // steps use the other threads
  const gains = new GainCheck(modules, norms, checkLimitsOf(folder.validation));
  return await folder.join<HostAdapter>(
    name,
    {
      path: checkpoint.directory,
      modules,
      names,
      checkKey: checkKeyOf(checkpoint.fingerprint, names),
      checkFurther: (path, { summary }) => gains.check(path, summary),
      load: async (path, loading, label) => foldMagnitudes(await loader.load(path, modules, loading), norms, label),
      compose: composeMixture,
      [Symbol.asyncDispose]: async () => {
        await Promise.all([loader.close(), gains.close()]);
        await norms[Symbol.asyncDispose]();
      },
    },
    budget,
  );
}
