/** Tries again what may do at another time: a bounded number of times, after growing pauses, or the one that the hub asks for. */

import { setTimeout as pause } from "node:timers/promises";
import { hubFault, TemporaryFault } from "./faults.js";

export interface RetryLimits {
  /** Tries in a row that bring next to nothing. */
  readonly maxTries: number;
  /** What a try has to bring for the next ones to count anew. */
  readonly minBytes: number;
  /** The first pause; each next is twice as long. */
  readonly pauseMs: number;
  /** The longest pause, the hub's own wish included: a longer one ends the download. */
  readonly maxPauseMs: number;
}

export const retryDefaults: RetryLimits = { maxTries: 6, minBytes: 2 ** 20, pauseMs: 1000, maxPauseMs: 120_000 };

/**
 * Runs the task until it ends well. A try that made `progress` grow enough starts the count anew. Throws `hub_unreachable` when the
 * attempts are used up; any other fault is thrown at once.
 */
export async function withRetries<T>(
  task: () => Promise<T>,
  limits: RetryLimits,
  signal: AbortSignal,
  progress: () => number = () => 0,
): Promise<T> {
  for (let tries = 1; ; tries++) {
    const before = progress();
    try {
      return await task();
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof TemporaryFault)) throw error;
      if (progress() - before >= limits.minBytes) tries = 1;
      const wait = error.waitMs ?? Math.min(limits.pauseMs * 2 ** (tries - 1), limits.maxPauseMs);
      if (tries >= limits.maxTries) throw unreachable(`${error.message} (tried ${tries} times)`);
      if (wait > limits.maxPauseMs) {
        throw unreachable(`${error.message}, and asks to try again only in ${Math.ceil(wait / 1000)} s`);
      }
      await pause(wait, undefined, { signal });
    }
  }
}

function unreachable(what: string) {
  return hubFault(
    "hub_unreachable",
    `The download failed: ${what}. What has arrived is kept; run the command again to continue.`,
  );
}
