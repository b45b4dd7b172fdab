/** Detects a sender that trickles: a transfer that never stalls but would never end. */

export interface PaceLimits {
  readonly windowMs: number;
  /** Minimum bytes per window. */
  readonly minBytes: number;
}

const paceDefaults: PaceLimits = { windowMs: 60_000, minBytes: 60 * 1024 };

export class Pace {
  readonly #limits: PaceLimits;
  #begin: number;
  #bytes = 0;

  constructor(now: number, limits: PaceLimits = paceDefaults) {
    this.#begin = now;
    this.#limits = limits;
  }

  /** Counts received bytes; false once a whole window has received too few. */
  isKept(now: number, bytes: number): boolean {
    this.#bytes += bytes;
    if (now - this.#begin < this.#limits.windowMs) return true;
    const isKept = this.#bytes >= this.#limits.minBytes;
    this.#begin = now;
    this.#bytes = 0;
    return isKept;
  }
}
