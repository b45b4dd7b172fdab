/** flock(2): a lock on an open file that other programs see and that ends with the process. */
import { constants } from "node:os";
import koffi from "koffi";
import { type Library, loadSystemLibrary } from "./library.js";

type Flock = (fd: number, operation: number) => number;

const exclusive = 2;
const withoutWaiting = 4;
// koffi unloads a library once its handle is collected.
let loaded: { readonly library: Library; readonly flock: Flock } | null | undefined;

function load() {
  const library = loadSystemLibrary();
  return library === null ? null : { library, flock: library.func("int flock(int fd, int operation)") as Flock };
}

/** Tries to lock an open file for this process alone, until it is closed. `unsupported`: the system or the file system has no such lock. */
export function tryLockFile(fd: number): "locked" | "busy" | "unsupported" {
  if (loaded === undefined) loaded = load();
  if (loaded === null) return "unsupported";
  if (loaded.flock(fd, exclusive | withoutWaiting) === 0) return "locked";
  const { EAGAIN, EACCES } = constants.errno;
  const errno = koffi.errno();
  return errno === EAGAIN || errno === EACCES ? "busy" : "unsupported";
}
