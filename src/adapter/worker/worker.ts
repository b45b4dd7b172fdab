/**
 * Checks and loads adapters in a worker thread, so that hashing and conversion never block the event loop. At most two jobs at once,
 * since disk reads share libuv's pool with the engine's steps. The thread starts with the first job, and does not keep the process
 * alive while idle. A job that exceeds its deadline is terminated with its thread.
 */

import type { Worker } from "node:worker_threads";
import { type Deferred, deferred, Semaphore } from "../../base/async.js";
import { LorikeetError } from "../../base/errors.js";
import { startThread } from "../../base/threads.js";
import type { BaseModule } from "../../model/blueprint.js";
import type { TaskTarget } from "../../model/task/adapter-targets.js";
import type { AdapterBase, CheckedAdapter, CheckOptions } from "../format.js";
import type { HostAdapter, HostTaskAdapter } from "../types.js";
import { type JobInput, type JobReply, type JobRequest, unpackError } from "./messages.js";

export interface AdapterWorkerOptions {
  /** JavaScript heap in MB; 512. A hostile header that needs more ends the thread, not the process. Tensors are outside the heap. */
  readonly maxHeapMb?: number;
  /** Concurrent jobs; 2. */
  readonly atOnce?: number;
  /** Milliseconds after which a job is terminated, with its thread and every other job in it. Default: none. */
  readonly deadlineMs?: number;
}

interface Pending {
  readonly timer?: NodeJS.Timeout;
  check?: Deferred<CheckedAdapter>;
  load?: Deferred<HostAdapter>;
  loadTask?: Deferred<HostTaskAdapter>;
}

export class AdapterWorker {
  readonly #slots: Semaphore;
  readonly #pending = new Map<number, Pending>();
  #worker: Worker | null = null;
  #closed = false;
  #lastId = 0;
  readonly #maxHeapMb: number;
  readonly #deadlineMs: number | null;

  constructor({ maxHeapMb = 512, atOnce = 2, deadlineMs }: AdapterWorkerOptions = {}) {
    this.#slots = new Semaphore(atOnce);
    this.#maxHeapMb = maxHeapMb;
    this.#deadlineMs = deadlineMs ?? null;
  }

  /** Like `checkAdapter`. */
  check(folder: string, base: AdapterBase, options: CheckOptions = {}): Promise<CheckedAdapter> {
    return this.#slots.run(() => {
      const check = deferred<CheckedAdapter>();
      this.#post({ kind: "check", base }, folder, options, { check });
      return check.promise;
    });
  }

  /** Like `loadAdapter`. The tensors' memory is transferred, not copied. */
  load(folder: string, modules: readonly BaseModule[], options: CheckOptions = {}): Promise<HostAdapter> {
    return this.#slots.run(() => {
      const load = deferred<HostAdapter>();
      this.#post({ kind: "load", modules }, folder, options, { load });
      return load.promise;
    });
  }

  /** Like `loadTaskAdapter`. The block of memory is transferred, not copied. */
  loadTask(folder: string, targets: readonly TaskTarget[], options: CheckOptions = {}): Promise<HostTaskAdapter> {
    return this.#slots.run(() => {
      const loadTask = deferred<HostTaskAdapter>();
      this.#post({ kind: "loadTask", targets }, folder, options, { loadTask });
      return loadTask.promise;
    });
  }

  /** Terminates the thread. Running, waiting and later jobs reject with `draining`. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true;
    const worker = this.#worker;
    this.#worker = null;
    this.#rejectAll(closedError());
    await worker?.terminate();
  }

  #post(input: JobInput, folder: string, options: CheckOptions, pending: Pending): void {
    if (this.#closed) throw closedError();
    this.#worker ??= this.#start();
    const worker = this.#worker;
    const id = ++this.#lastId;
    worker.postMessage({ id, ...input, folder, options } satisfies JobRequest);
    const deadlineMs = this.#deadlineMs;
    const timer = deadlineMs === null ? null : setTimeout(() => this.#overdue(worker, deadlineMs), deadlineMs).unref();
    this.#pending.set(id, timer ? { ...pending, timer } : pending);
    worker.ref();
  }

  #start(): Worker {
    const worker = startThread(import.meta.url, "main", {
      name: "lorikeet-adapters",
      resourceLimits: { maxOldGenerationSizeMb: this.#maxHeapMb },
    });
    worker.on("message", (reply: JobReply) => this.#settle(reply, worker));
    worker.on("error", (cause) => this.#lost(worker, cause));
    worker.on("exit", (code) => this.#lost(worker, new Error(`exit code ${code}`)));
    return worker;
  }

  #settle(reply: JobReply, worker: Worker): void {
    const pending = this.#pending.get(reply.id);
    this.#pending.delete(reply.id);
    clearTimeout(pending?.timer);
    if (this.#pending.size === 0) worker.unref();
    if (reply.kind === "error") rejectJob(pending, unpackError(reply.error));
    else if (reply.kind === "check") pending?.check?.resolve(reply.value);
    else if (reply.kind === "load") pending?.load?.resolve(reply.value);
    else pending?.loadTask?.resolve(reply.value);
  }

  /** The thread has ended: its jobs fail, and the next job starts a new one. */
  #lost(worker: Worker, cause: Error): void {
    if (this.#worker !== worker) return;
    this.#worker = null;
    const message = `The adapter worker ended before its job was done (${cause.message}).`;
    this.#rejectAll(new LorikeetError("internal", message, { cause }));
  }

  #overdue(worker: Worker, deadlineMs: number): void {
    if (this.#worker !== worker) return;
    this.#worker = null;
    this.#rejectAll(
      new LorikeetError(
        "validation_timeout",
        `Checking the adapter took longer than ${deadlineMs} ms and was stopped.`,
        {
          found: `more than ${deadlineMs} ms`,
          allowed: deadlineMs,
        },
      ),
    );
    void worker.terminate();
  }

  #rejectAll(error: LorikeetError): void {
    const pending = [...this.#pending.values()];
    this.#pending.clear();
    for (const job of pending) {
      clearTimeout(job.timer);
      rejectJob(job, error);
    }
  }
}

function rejectJob(job: Pending | undefined, error: LorikeetError): void {
  job?.check?.reject(error);
  job?.load?.reject(error);
  job?.loadTask?.reject(error);
}

function closedError(): LorikeetError {
  return new LorikeetError("draining", "The adapter worker is closed.");
}
