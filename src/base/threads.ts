/** Starts worker threads from files of this package, compiled or run from sources. */

import { Worker, type WorkerOptions } from "node:worker_threads";

/**
 * Starts the module `name` beside the one whose `import.meta.url` is `from`. The thread inherits no flags of the process: it
 * needs none, and some (`--input-type`) forbid a file as entry.
 */
export function startThread(from: string, name: string, options: Omit<WorkerOptions, "eval" | "execArgv">): Worker {
  const own = { ...options, execArgv: [] };
  if (!from.endsWith(".ts")) return new Worker(new URL(`./${name}.js`, from), own);
  // Run from sources: a thread does not inherit the loader that compiles them.
  const [loader, entry] = [import.meta.resolve("tsx/esm/api"), new URL(`./${name}.ts`, from).href];
  const code = `import(${JSON.stringify(loader)}).then((tsx) => (tsx.register(), import(${JSON.stringify(entry)})))`;
  return new Worker(code, { ...own, eval: true });
}
