/**
 * Leases on open files: before another process writes to a leased file, or cuts it, it has to wait until its holder has been
 * told and has given the lease back (fcntl(2), F_SETLEASE; the wait is bounded by /proc/sys/fs/lease-break-time, 45 s). Linux
 * only, on file systems that have leases, for files of this process's user; elsewhere there is none to be had.
 */
import { closeSync } from "node:fs";
import { constants } from "node:os";
import { isMainThread } from "node:worker_threads";
import { loadSystemLibrary } from "./library.js";

type Fcntl = (fd: number, command: number, argument: number) => number;

const setSignal = 10;
const setLease = 1024;
const getLease = 1025;
const readLock = 0;
const unlocked = 2;
/** Ignored by a process that does not ask for it, unlike the signal that leases send by themselves. */
const signal = "SIGURG";

let fcntl: Fcntl | null | undefined;
const held = new Set<FileLease>();

function loadFcntl(): Fcntl | null {
  if (process.platform !== "linux" || !isMainThread) return null; // signals reach the main thread alone
  const declaration = "int fcntl(int fd, int command, int argument)";
  return (loadSystemLibrary()?.func(declaration) as Fcntl | undefined) ?? null;
}

/** Tells those whose files somebody waits to write to. */
function tell(): void {
  for (const lease of held) lease.check();
}

export class FileLease implements Disposable {
  readonly #fd: number;
  readonly #onWriter: () => void;
  #isTold = false;

  private constructor(fd: number, onWriter: () => void) {
    this.#fd = fd;
    this.#onWriter = onWriter;
  }

  /** Takes a lease and the descriptor, which was opened for reading; null leaves both. `onWriter` is called once, from the event loop. */
  static take(fd: number, onWriter: () => void): FileLease | null {
    if (fcntl === undefined) fcntl = loadFcntl();
    if (fcntl === null) return null;
    if (held.size === 0) process.on(signal, tell);
    const isLeased = fcntl(fd, setSignal, constants.signals[signal]) === 0 && fcntl(fd, setLease, readLock) === 0;
    if (!isLeased) {
      if (held.size === 0) process.off(signal, tell);
      return null;
    }
    const lease = new FileLease(fd, onWriter);
    held.add(lease);
    return lease;
  }

  check(): void {
    if (this.#isTold || fcntl?.(this.#fd, getLease, 0) === readLock) return;
    this.#isTold = true;
    this.#onWriter();
  }

  /** Gives the lease back and closes the file. Idempotent. */
  [Symbol.dispose](): void {
    if (!held.delete(this)) return;
    if (held.size === 0) process.off(signal, tell);
    fcntl?.(this.#fd, setLease, unlocked);
    closeSync(this.#fd);
  }
}
