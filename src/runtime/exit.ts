/**
 * Ends the process at once. `process.exit` waits for the thread pool, and a thread that opens a pipe or reads from a hanging disk
 * may never return; `_exit` waits for nothing and flushes nothing.
 */
import { loadSystemLibrary } from "./library.js";

/** Does not return. */
export function exitAtOnce(code: number): void {
  const exit = loadSystemLibrary()?.func("void _exit(int status)");
  exit?.(code);
  process.exit(code);
}
