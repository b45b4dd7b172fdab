/**
 * Limits on a sender's time: between two bytes, per number of bytes, and in total. Counts only time spent waiting for bytes, so a slow
 * disk does not count against the sender.
 */

import { LorikeetError } from "../../base/errors.js";

export interface PaceLimits {
  /** Milliseconds without a byte. */
  readonly idleMs: number;
  /** Minimum bytes per second over each window of waiting; 0: no limit. */
  readonly minRate: number;
  readonly rateWindowMs: number;
  /** Milliseconds for the whole body. */
  readonly totalMs: number;
}

export class SenderPace {
  readonly #limits: PaceLimits;
  readonly #now: () => number;
  readonly #endsAt: number;
  /** In the current window. */
  #waitedMs = 0;
  #bytes = 0;

  constructor(limits: PaceLimits, now: () => number = () => performance.now()) {
    this.#limits = limits;
    this.#now = now;
    this.#endsAt = now() + limits.totalMs;
  }

  /** How long to wait for the next bytes before the next `check`. */
  patience(silentMs: number): number {
    const { idleMs, minRate, rateWindowMs } = this.#limits;
    const window = minRate > 0 ? rateWindowMs - this.#waitedMs : Number.POSITIVE_INFINITY;
    return Math.max(0, Math.min(idleMs - silentMs, window, this.#endsAt - this.#now()));
  }

  received(bytes: number): void {
    this.#bytes += bytes;
  }

  /** Adds time spent waiting; `silentMs` is the time since the last byte. Throws `timeout`. */
  waited(ms: number, silentMs: number): void {
    const { idleMs, minRate, rateWindowMs, totalMs } = this.#limits;
    this.#waitedMs += ms;
    if (silentMs >= idleMs) {
      throw late("upload-idle-timeout", `sent no byte for ${idleMs} ms, the longest pause allowed`, idleMs);
    }
    if (this.#now() >= this.#endsAt) throw late("upload-timeout", `took longer than ${totalMs} ms`, totalMs);
    if (minRate === 0 || this.#waitedMs < rateWindowMs) return;
    const least = Math.ceil((minRate * rateWindowMs) / 1000);
    if (this.#bytes < least) {
      const found = `sent ${this.#bytes} bytes in ${Math.round(this.#waitedMs)} ms; at least ${least} are required`;
      throw late("min-upload-rate", found, least);
    }
    this.#waitedMs = 0;
    this.#bytes = 0;
  }
}

/** `option` sets the limit. */
function late(option: string, clause: string, allowed: number): LorikeetError {
  return new LorikeetError("timeout", `The upload ${clause}.`, { param: option, allowed });
}
