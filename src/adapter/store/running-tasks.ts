/** Tracks running tasks, so that closing can wait for them. */
import { LorikeetError } from "../../base/errors.js";

export class RunningTasks {
  readonly #running = new Set<Promise<unknown>>();
  #isClosed = false;

  /** Runs a task that `close` will wait for. Rejects with `draining` once it is closed. */
  async run<T>(task: () => Promise<T>): Promise<T> {
    if (this.#isClosed) throw new LorikeetError("draining", "The adapter store is closed.");
    const running = task();
    this.#running.add(running);
    try {
      return await running;
    } finally {
      this.#running.delete(running);
    }
  }

  /** Refuses new tasks, and resolves when the last one has settled. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await Promise.allSettled(this.#running);
  }
}
