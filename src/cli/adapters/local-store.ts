/** Opens an adapters folder for one command. Adapters are checked against a base model if one is given. */

import { describeAdapter } from "../../adapter/format.js";
import { AdapterStore } from "../../adapter/store/store.js";
import { AdapterWorker } from "../../adapter/worker/worker.js";
import { openCheckpoint } from "../../model/checkpoint/open.js";
import { baseModules, targetModules } from "../../model/modules.js";
import { tryLockFile } from "../../runtime/file-lock.js";
import { WeightNorms } from "../../weights/norms.js";
import { checkKeyOf } from "../serve/adapter-tier.js";
import { GainCheck } from "../serve/gain-check.js";

export interface LocalStore extends AsyncDisposable {
  readonly store: AdapterStore;
  /** Whether adapters are checked against a base model. */
  readonly isChecked: boolean;
}

/** Without a model, adapters are not checked against a base. Throws what opening the model or the store throws. */
export async function openLocalStore(directory: string, model: string | null): Promise<LocalStore> {
  if (model === null) {
    const store = await AdapterStore.open({
      directory,
      check: (folder) => describeAdapter(folder, null),
      checkKey: "no base",
      tryLock: tryLockFile,
    });
    return { store, isChecked: false, [Symbol.asyncDispose]: () => store.close() };
  }
  const checkpoint = await openCheckpoint(model);
  const baseNames = checkpoint.names;
  const modules = baseModules(checkpoint.config);
  const worker = new AdapterWorker();
  const norms = new WeightNorms(checkpoint, { threads: 1 });
  const gains = new GainCheck(targetModules(checkpoint.config), norms);
  const closeWorkers = async (): Promise<void> => {
    await Promise.all([worker.close(), gains.close()]);
    await norms[Symbol.asyncDispose]();
  };
  try {
    const check = async (folder: string) => {
      const checked = await worker.check(folder, modules, { baseNames });
      await gains.check(folder, checked.summary);
      return checked;
    };
    const store = await AdapterStore.open({
      directory,
      check,
      reserved: [baseNames[0]],
      checkKey: checkKeyOf(checkpoint, baseNames),
      tryLock: tryLockFile,
    });
    const close = async (): Promise<void> => {
      await store.close();
      await closeWorkers();
    };
    return { store, isChecked: true, [Symbol.asyncDispose]: close };
  } catch (error) {
    await closeWorkers();
    throw error;
  }
}
