/** One row in the task engine: what it asks for, what it holds, and the promises of whoever asked. */

import type { AdapterLease, HostTaskAdapter } from "../../adapter/types.js";
import { deferred } from "../../base/async.js";
import type { Ticket } from "../../base/fair-queue.js";
import type { TaskJob, TaskRequest, TaskResult, TaskTensor } from "./types.js";

export class Job implements TaskJob {
  readonly request: TaskRequest;
  readonly submittedAt: number;
  /** Rows with the same text can run together. */
  readonly shape: string;
  phase: "waiting" | "starting" | "finished" = "waiting";
  ticket: Ticket | null = null;
  lease: AdapterLease<HostTaskAdapter> | null = null;
  readonly #admitted = deferred<void>();
  readonly #result = deferred<TaskResult>();
  #queueMs = 0;
  #unlisten: () => void = () => {};

  constructor(request: TaskRequest, now: number) {
    this.request = request;
    this.submittedAt = now;
    this.shape = [...request.inputs]
      .map(([name, { shape }]) => `${name} ${shape.join()}`)
      .sort()
      .join(";");
    // Whoever waits for one of the two need not wait for the other.
    this.#admitted.promise.catch(() => {});
    this.#result.promise.catch(() => {});
  }

  get admitted(): Promise<void> {
    return this.#admitted.promise;
  }

  get result(): Promise<TaskResult> {
    return this.#result.promise;
  }

  /** Calls back when the request's signal is aborted, until the job has ended. */
  listen(onAbort: () => void): void {
    const { signal } = this.request;
    signal?.addEventListener("abort", onAbort, { once: true });
    this.#unlisten = () => signal?.removeEventListener("abort", onAbort);
    if (signal?.aborted) onAbort();
  }

  admit(now: number): void {
    this.#queueMs = now - this.submittedAt;
    this.#admitted.resolve();
  }

  /** Ends the job. false: it had ended before. */
  settle(ending: Error | ReadonlyMap<string, TaskTensor>): boolean {
    if (this.phase === "finished") return false;
    this.phase = "finished";
    this.#unlisten();
    this.ticket?.end();
    this.ticket = null;
    if (ending instanceof Error) {
      this.#admitted.reject(ending);
      this.#result.reject(ending);
    } else {
      const labels = this.lease?.adapter.labels ?? null;
      this.#result.resolve({ outputs: ending, queueMs: this.#queueMs, labels });
    }
    return true;
  }

  /** Returns the adapter. Idempotent. */
  release(): void {
    this.lease?.release();
    this.lease = null;
  }
}
