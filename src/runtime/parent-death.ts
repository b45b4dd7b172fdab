/** Ends this process with its parent, however that ends: a stopped process hears no message. Linux only. */
import { loadSystemLibrary } from "./library.js";

/** PR_SET_PDEATHSIG of prctl(2), and SIGKILL. */
const [option, signal] = [1, 9];

/** Asks the system to kill this process when the thread that started it ends. */
export function endWithParent(): void {
  if (process.platform !== "linux") return;
  const prctl = loadSystemLibrary()?.func("int prctl(int option, ulong a, ulong b, ulong c, ulong d)");
  prctl?.(option, signal, 0, 0, 0);
}
