/**
 * How long a sender may take: between two bytes, for so many bytes, and in all. Counts the time that is spent waiting for
 * bytes, so that a disk that is slow to write them is not the sender's fault. Knows no clock but the one it is handed.
 */

import { LorikeetError } from "../../base/errors.js";

export interface PaceLimits {
  /** Milliseconds without a byte. */
  readonly idleMs: number;
  /** Bytes a second, over each window of waiting; 0: no limit. */
  readonly minRate: number;
  readonly rateWindowMs: number;
  /** Milliseconds for the whole body. */
  readonly totalMs: number;
}

export class SenderPace {
  readonly #limits: PaceLimits;
  readonly #now: () => number;
  readonly #endsAt: number;
  /** Of the window that is under way. */
  #waitedMs = 0;
  #bytes = 0;

  constructor(limits: PaceLimits, now: () => number = () => performance.now()) {
    this.#limits = limits;
    this.#now = now;
    this.#endsAt = now() + limits.totalMs;
  }

  /** How long to wait for the next bytes before `check` is asked again. */
  patience(silentMs: number): number {
    const { idleMs, minRate, rateWindowMs } = this.#limits;
    const window = minRate > 0 ? rateWindowMs - this.#waitedMs : Number.POSITIVE_INFINITY;
    return Math.max(0, Math.min(idleMs - silentMs, window, this.#endsAt - this.#now()));
  }

  received(bytes: number): void {
    this.#bytes += bytes;
  }

  /** Counts time that was spent waiting; `silentMs` of it, and of what came before it, without a byte. Throws `timeout`. */
  waited(ms: number, silentMs: number): void {
    const { idleMs, minRate, rateWindowMs, totalMs } = this.#limits;
    this.#waitedMs += ms;
    if (silentMs >= idleMs) {
      throw late("upload-idle-timeout", `brought no byte for ${idleMs} ms, the longest pause that is allowed`, idleMs);
    }
    if (this.#now() >= this.#endsAt) throw late("upload-timeout", `took longer than ${totalMs} ms`, totalMs);
    if (minRate === 0 || this.#waitedMs < rateWindowMs) return;
    const least = Math.ceil((minRate * rateWindowMs) / 1000);
    if (this.#bytes < least) {
      const found = `brought ${this.#bytes} bytes in ${Math.round(this.#waitedMs)} ms; at least ${least} are expected`;
      throw late("min-upload-rate", found, least);
    }
    this.#waitedMs = 0;
    this.#bytes = 0;
  }
}

/** `option` bounds it. */
function late(option: string, clause: string, allowed: number): LorikeetError {
  return new LorikeetError("timeout", `The upload ${clause}.`, { param: option, allowed });
}
