/**
 * Ends the process at once. `process.exit` waits for threads of the pool, and one that opens a pipe or reads from a disk that
 * hangs never comes back; `_exit` waits for nothing and flushes nothing.
 */
import { loadSystemLibrary } from "./library.js";

/** Does not return. */
export function exitAtOnce(code: number): void {
  const exit = loadSystemLibrary()?.func("void _exit(int status)");
  exit?.(code);
  process.exit(code);
}
