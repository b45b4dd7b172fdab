/**
 * The lock of one blob, which Python's `huggingface_hub` takes too: flock(2) on a file that stays. A process that dies gives it
 * back. It saves a second download of the same bytes; what ends up in the cache is right without it.
 */

import { type FileHandle, mkdir, open, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import type { TryLock } from "../base/try-lock.js";

export interface LockWait {
  readonly tryLock: TryLock;
  readonly signal: AbortSignal;
  /** Called at each look at a lock that another holds. */
  readonly onWait: () => void;
  /** Something that changes as long as its holder gets on. */
  readonly holderProgress: () => Promise<unknown>;
  /** How long a holder may not get on before it is no longer waited for. */
  readonly patienceMs: number;
}

const lookMs = 200;

/** Waits for the lock; disposing gives it back. null where it cannot be had: the caller goes on without it. */
export async function acquireLock(path: string, wait: LockWait): Promise<AsyncDisposable | null> {
  await mkdir(dirname(path), { recursive: true });
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
    await pause(lookMs, undefined, { signal: wait.signal });
    const now = await wait.holderProgress();
    if (now !== last) since = performance.now();
    else if (performance.now() - since > wait.patienceMs) return false;
    last = now;
  }
}

/** null where another user's file may not be opened. */
async function openLock(path: string): Promise<FileHandle | null> {
  try {
    return await open(path, "a+", 0o664);
  } catch (error) {
    if ((await stat(path).catch(() => null)) !== null) return null;
    throw error;
  }
}
