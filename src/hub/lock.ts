/**
 * The lock of one blob, shared with Python's `huggingface_hub`: flock(2) on a file that is never removed. The system releases it
 * when its process dies. It only avoids downloading the same bytes twice; the cache stays correct without it.
 */

import { type FileHandle, open, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { makeFolders } from "../base/files.js";
import type { TryLock } from "../base/try-lock.js";

export interface LockWait {
  readonly tryLock: TryLock;
  readonly signal: AbortSignal;
  /** Called each time the lock is found held by another process. */
  readonly onWait: () => void;
  /** A value that changes while the lock's holder makes progress. */
  readonly holderProgress: () => Promise<unknown>;
  /** How long to wait for a holder that makes no progress. */
  readonly patienceMs: number;
}

const pollMs = 200;

/** Waits for the lock; disposing releases it. Null if it is unavailable: the caller then proceeds without it. */
export async function acquireLock(path: string, wait: LockWait): Promise<AsyncDisposable | null> {
  await makeFolders(dirname(path));
  const handle = await openLock(path);
  if (handle === null) return null;
  try {
    if (await isAcquired(handle, wait)) return { [Symbol.asyncDispose]: () => handle.close() };
    await handle.close();
    return null;
  } catch (error) {
    await handle.close();
    throw error;
  }
}

async function isAcquired({ fd }: FileHandle, wait: LockWait): Promise<boolean> {
  let last = await wait.holderProgress();
  let since = performance.now();
  for (;;) {
    const state = wait.tryLock(fd);
    if (state !== "busy") return state === "locked";
    wait.onWait();
    await pause(pollMs, undefined, { signal: wait.signal });
    const now = await wait.holderProgress();
    if (now !== last) since = performance.now();
    else if (performance.now() - since > wait.patienceMs) return false;
    last = now;
  }
}

/** Null if the file belongs to another user and may not be opened. */
async function openLock(path: string): Promise<FileHandle | null> {
  try {
    return await open(path, "a+", 0o664);
  } catch (error) {
    if ((await stat(path).catch(() => null)) !== null) return null;
    throw error;
  }
}
