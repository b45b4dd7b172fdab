/** Whether a sender trickles: a transfer that never stalls and never ends. */

export interface PaceLimits {
  readonly windowMs: number;
  /** What each window has to bring. */
  readonly minBytes: number;
}

export const paceDefaults: PaceLimits = { windowMs: 60_000, minBytes: 60 * 1024 };

export class Pace {
  readonly #limits: PaceLimits;
  #begin: number;
  #bytes = 0;

  constructor(now: number, limits: PaceLimits = paceDefaults) {
    this.#begin = now;
    this.#limits = limits;
  }

  /** Counts what has arrived at this moment; false once a whole window has brought too little. */
  isKept(now: number, bytes: number): boolean {
    this.#bytes += bytes;
    if (now - this.#begin < this.#limits.windowMs) return true;
    const isKept = this.#bytes >= this.#limits.minBytes;
    this.#begin = now;
    this.#bytes = 0;
    return isKept;
  }
}
