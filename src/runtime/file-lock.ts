/** flock(2): a lock on an open file that other programs see and that ends with the process. */
import { constants } from "node:os";
import koffi from "koffi";
import type { TryLock } from "../base/try-lock.js";
import { type Library, loadSystemLibrary } from "./library.js";

type Flock = (fd: number, operation: number) => number;

const operations = { shared: 1, exclusive: 2 } as const;
const withoutWaiting = 4;
// koffi unloads a library once its handle is collected.
let loaded: { readonly library: Library; readonly flock: Flock } | null | undefined;

function load() {
  const library = loadSystemLibrary();
  return library === null ? null : { library, flock: library.func("int flock(int fd, int operation)") as Flock };
}

/** Tries to lock an open file until it is closed. */
export const tryLockFile: TryLock = (fd, mode = "exclusive") => {
  if (loaded === undefined) loaded = load();
  if (loaded === null) return "unsupported";
  if (loaded.flock(fd, operations[mode] | withoutWaiting) === 0) return "locked";
  const { EAGAIN, EACCES } = constants.errno;
  const errno = koffi.errno();
  return errno === EAGAIN || errno === EACCES ? "busy" : "unsupported";
};
