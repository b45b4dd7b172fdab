/**
 * Leases on open files (fcntl(2), F_SETLEASE): a process that wants to write to or truncate a leased file has to wait until the
 * holder is notified and releases the lease, for at most /proc/sys/fs/lease-break-time (45 s). Only on Linux, on file systems
 * with leases, for files of this process's user.
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
/** By default a process ignores this signal, unlike SIGIO, which leases send by default. */
const signal = "SIGURG";

let fcntl: Fcntl | null | undefined;
const held = new Set<FileLease>();

function loadFcntl(): Fcntl | null {
  if (process.platform !== "linux" || !isMainThread) return null; // only the main thread receives signals
  const declaration = "int fcntl(int fd, int command, int argument)";
  return (loadSystemLibrary()?.func(declaration) as Fcntl | undefined) ?? null;
}

/** Notifies the holders whose files a process is waiting to write to. */
function notifyHolders(): void {
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

  /** Takes a lease and ownership of the descriptor, which must be open for reading; null: neither is taken. `onWriter` is called once, from the event loop. */
  static take(fd: number, onWriter: () => void): FileLease | null {
    if (fcntl === undefined) fcntl = loadFcntl();
    if (fcntl === null) return null;
    if (held.size === 0) process.on(signal, notifyHolders);
    const isLeased = fcntl(fd, setSignal, constants.signals[signal]) === 0 && fcntl(fd, setLease, readLock) === 0;
    if (!isLeased) {
      if (held.size === 0) process.off(signal, notifyHolders);
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

  /** Releases the lease and closes the file. Idempotent. */
  [Symbol.dispose](): void {
    if (!held.delete(this)) return;
    if (held.size === 0) process.off(signal, notifyHolders);
    fcntl?.(this.#fd, setLease, unlocked);
    closeSync(this.#fd);
  }
}
