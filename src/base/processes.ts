/** Starts modules of this package in child processes, compiled or run from sources. */

import { type ChildProcess, fork } from "node:child_process";
import { fileURLToPath } from "node:url";

/** Forks the module `name` beside the one whose `import.meta.url` is `from`. What it prints goes to this process's outputs. */
export function forkModule(from: string, name: string): ChildProcess {
  const entry = fileURLToPath(new URL(`./${name}.${from.endsWith(".ts") ? "ts" : "js"}`, from));
  // Pass on the flags that load sources, but not those of the test runner.
  const execArgv = process.execArgv.filter((argument) => !argument.startsWith("--test"));
  return fork(entry, { execArgv, stdio: ["ignore", "inherit", "inherit", "ipc"] });
}
