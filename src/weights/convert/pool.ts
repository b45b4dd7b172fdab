/** A pool of conversion threads: distributes tasks in order, collects results, and stops at the first error or abort. */

import type { Worker } from "node:worker_threads";
import { deferred } from "../../base/async.js";
import { type ErrorCode, LorikeetError } from "../../base/errors.js";
import { startThread } from "../../base/threads.js";
import type { ConvertResult, ConvertTask } from "./task.js";

export type Answer =
  | { readonly ok: true; readonly result: ConvertResult }
  | { readonly ok: false; readonly message: string; readonly code?: ErrorCode; readonly systemCode?: string };

export interface PoolOptions {
  readonly threads: number;
  readonly signal?: AbortSignal | undefined;
  readonly onResult: (result: ConvertResult, task: ConvertTask) => void;
}

/** A system error (`ENOSPC`, `EIO`) in a thread. */
class ThreadFault extends Error {
  readonly code: string | undefined;

  constructor(message: string, code: string | undefined) {
    super(message);
    this.code = code;
  }
}

/**
 * Runs all tasks, writing into the existing file `output`. When it rejects, no thread is still writing. Throws `cancelled` if the
 * signal aborts, ThreadFault for a system error, else what the task threw.
 */
export async function runTasks(output: string, tasks: readonly ConvertTask[], options: PoolOptions): Promise<void> {
  const { signal } = options;
  if (signal?.aborted) throw cancelled(signal);
  if (tasks.length === 0) return;
  const stopped = deferred<never>();
  const abort = (): void => stopped.reject(cancelled(signal));
  signal?.addEventListener("abort", abort, { once: true });
  const queue = tasks.values();
  const workers = Array.from({ length: Math.min(options.threads, tasks.length) }, () =>
    startThread(import.meta.url, "worker", { name: "lorikeet-convert", workerData: output }),
  );
  try {
    const work = Promise.all(workers.map((worker) => drain(worker, queue, options)));
    await Promise.race([work, stopped.promise]);
  } finally {
    signal?.removeEventListener("abort", abort);
    await Promise.all(workers.map((worker) => worker.terminate()));
  }
}

/** Feeds tasks to one worker until none is left. */
function drain(worker: Worker, queue: Iterator<ConvertTask>, { onResult }: PoolOptions): Promise<void> {
  const end = deferred<void>();
  let current: ConvertTask | undefined;
  const next = (): void => {
    current = queue.next().value;
    if (current) worker.postMessage(current);
    else end.resolve();
  };
  worker.on("message", (answer: Answer) => {
    if (!answer.ok) return end.reject(faultOf(answer));
    if (current) onResult(answer.result, current);
    next();
  });
  worker.on("error", (error) => end.reject(error));
  worker.on("exit", (code) =>
    end.reject(new LorikeetError("internal", `A conversion thread ended early with code ${code}.`)),
  );
  next();
  return end.promise;
}

function faultOf(answer: Extract<Answer, { ok: false }>): Error {
  if (answer.code) return new LorikeetError(answer.code, answer.message);
  return new ThreadFault(answer.message, answer.systemCode);
}

function cancelled(signal: AbortSignal | undefined): LorikeetError {
  return new LorikeetError("cancelled", "The preparation of the weights was stopped.", { cause: signal?.reason });
}
