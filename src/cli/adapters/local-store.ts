/** Opens an adapters folder for one command. Adapters are checked against a base model if one is given. */

import { describeAdapter } from "../../adapter/format.js";
import { AdapterStore } from "../../adapter/store/store.js";
import { AdapterWorker } from "../../adapter/worker/worker.js";
import { storedModules } from "../../model/modules.js";
import type { Checkpoint } from "../../model/types.js";
import { tryLockFile } from "../../runtime/file-lock.js";
import { WeightNorms } from "../../weights/norms.js";
import type { CheckBase } from "../check-base.js";
import { GainCheck } from "../serve/gain-check.js";
import { ownAdapters } from "../serve/own-adapters.js";

export interface LocalStore extends AsyncDisposable {
  readonly store: AdapterStore;
  /** Whether adapters are checked against a base model. */
  readonly isChecked: boolean;
}

/** Without a base, adapters are not checked against one. With one, its own adapters are there too. Throws what opening the store throws. */
export async function openLocalStore(directory: string | null, base: CheckBase | null): Promise<LocalStore> {
  if (base === null) {
    const store = await AdapterStore.open({
      directory,
      check: (folder) => describeAdapter(folder, null),
      bases: [{ name: null, checkKey: "no base" }],
      tryLock: tryLockFile,
    });
    return { store, isChecked: false, [Symbol.asyncDispose]: () => store.close() };
  }
  const { modules, names: baseNames, checkKey, checkpoint } = base;
  const worker = new AdapterWorker();
  const gains = checkpoint && openGains(checkpoint);
  const closeWorkers = async (): Promise<void> => {
    await Promise.all([worker.close(), gains?.[Symbol.asyncDispose]()]);
  };
  try {
    const check = async (folder: string) => {
      const checked = await worker.check(folder, modules, { baseNames });
      const more = (await gains?.check(folder, checked.summary)) ?? [];
      return { ...checked, summary: { ...checked.summary, warnings: [...checked.summary.warnings, ...more] } };
    };
    const [name, ...aliases] = baseNames;
    const store = await AdapterStore.open({
      ...{ directory, check, reserved: [name], tryLock: tryLockFile },
      bases: [{ name, aliases, checkKey }],
      own: await ownAdapters(name, base.path),
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

function openGains(checkpoint: Checkpoint): Pick<GainCheck, "check"> & AsyncDisposable {
  const norms = new WeightNorms(checkpoint, { threads: 1 });
  const gains = new GainCheck(storedModules(checkpoint), norms);
  return {
    check: (folder, summary) => gains.check(folder, summary),
    [Symbol.asyncDispose]: async () => {
      await gains.close();
      await norms[Symbol.asyncDispose]();
    },
  };
}
