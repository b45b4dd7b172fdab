/** Starts worker threads of our own files, compiled or run from sources. Knows nothing of what they do. */

import { Worker, type WorkerOptions } from "node:worker_threads";

/**
 * Starts `name`, a module beside the one whose `import.meta.url` is `from`. The process's own flags may forbid a file as entry
 * (`--input-type`), and no thread of ours needs any, so none is inherited.
 */
export function startThread(from: string, name: string, options: Omit<WorkerOptions, "eval" | "execArgv">): Worker {
  const own = { ...options, execArgv: [] };
  if (!from.endsWith(".ts")) return new Worker(new URL(`./${name}.js`, from), own);
  // Run from sources: a thread does not inherit the loader that compiles them.
  const [loader, entry] = [import.meta.resolve("tsx/esm/api"), new URL(`./${name}.ts`, from).href];
  const code = `import(${JSON.stringify(loader)}).then((tsx) => (tsx.register(), import(${JSON.stringify(entry)})))`;
  return new Worker(code, { ...own, eval: true });
}
