/** Retries temporary faults a bounded number of times, after growing pauses or the wait that the hub asks for. */

import { setTimeout as pause } from "node:timers/promises";
import { hubFault, TemporaryFault } from "./faults.js";

export interface RetryLimits {
  /** Attempts in a row without real progress. */
  readonly maxAttempts: number;
  /** Progress of an attempt that resets the count. */
  readonly minBytes: number;
  /** The first pause. Each one after it is twice as long. */
  readonly pauseMs: number;
  /** The longest pause. If the hub asks for a longer one, the download fails. */
  readonly maxPauseMs: number;
}

export const retryDefaults: RetryLimits = { maxAttempts: 6, minBytes: 2 ** 20, pauseMs: 1000, maxPauseMs: 120_000 };

/**
 * Runs the task until it succeeds. An attempt that makes enough progress resets the count. Throws `hub_unreachable` when the
 * attempts are used up, with the reason alone. Any error but a TemporaryFault is thrown at once.
 */
export async function withRetries<T>(
  task: () => Promise<T>,
  limits: RetryLimits,
  signal: AbortSignal,
  progress: () => number = () => 0,
): Promise<T> {
  for (let attempts = 1; ; attempts++) {
    const before = progress();
    try {
      return await task();
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof TemporaryFault)) throw error;
      if (progress() - before >= limits.minBytes) attempts = 1;
      const wait = error.waitMs ?? Math.min(limits.pauseMs * 2 ** (attempts - 1), limits.maxPauseMs);
      if (attempts >= limits.maxAttempts) throw unreachable(`${error.message} (after ${attempts} attempts)`);
      if (wait > limits.maxPauseMs) {
        throw unreachable(`${error.message} and asks for a wait of ${Math.ceil(wait / 1000)} s`);
      }
      await pause(wait, undefined, { signal });
    }
  }
}

function unreachable(what: string) {
  return hubFault("hub_unreachable", `${what}.`);
}
