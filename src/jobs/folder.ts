/** The folder of a fine-tuning API, which one process at a time has open. Creates what is missing. */
import { join } from "node:path";
import { deferred } from "../base/async.js";
import { storageFault } from "../base/durable.js";
import { hasCode, LorikeetError } from "../base/errors.js";
import { makeFolders } from "../base/files.js";
import { FolderLock } from "../base/lock.js";
import { lifeOf, ownerKey } from "../base/owner.js";
import { type FileBounds, FileStore } from "./file-store.js";
import { JobStore } from "./job-store.js";

export interface FineTuningFolder extends AsyncDisposable {
  readonly files: FileStore;
  readonly jobs: JobStore;
}

/** Throws LorikeetError `conflict` if another process has the folder open, or what creating folders throws. */
export async function openFineTuningFolder(
  folder: string,
  bounds: Partial<FileBounds> = {},
): Promise<FineTuningFolder> {
  const release = await lockFolder(folder);
  try {
    const files = await FileStore.open(join(folder, "files"), bounds);
    const jobs = await JobStore.open(join(folder, "jobs"));
    return { files, jobs, [Symbol.asyncDispose]: release };
  } catch (error) {
    await release();
    throw storageFault(error, folder, "fine-tuning folder");
  }
}

/** Resolves with what releases the lock. That of a dead process is taken over. */
async function lockFolder(folder: string): Promise<() => Promise<void>> {
  const place = join(folder, "lock");
  await makeFolders(place);
  const isAlive = async (key: string): Promise<boolean> => lifeOf(key) !== "dead";
  const lock = new FolderLock({ folder: place, key: ownerKey(), isAlive, waitMs: 0 });
  const entered = deferred<void>();
  const left = deferred<void>();
  const holding = lock.run(async () => {
    entered.resolve();
    await left.promise;
  });
  const refused = holding.then(
    () => {},
    (cause: unknown) => {
      throw inUse(cause, folder);
    },
  );
  refused.catch(() => {});
  await Promise.race([entered.promise, refused]);
  return async () => {
    left.resolve();
    await holding;
  };
}

function inUse(cause: unknown, folder: string): unknown {
  if (!hasCode(cause, "conflict")) return storageFault(cause, folder, "fine-tuning folder");
  const message = "Another process has the folder of --fine-tuning open.";
  return new LorikeetError("conflict", message, { operator: folder, cause });
}
