/**
 * Bounds how long a reader may lag. It must read enough bytes in each window of waiting, and gives up its slot sooner if others wait
 * for one. Transport and clock are passed in.
 */

import { within } from "../base/async.js";
import { LorikeetError } from "../base/errors.js";

export interface ReaderBounds {
  /** How long to wait for a reader that reads nothing. */
  readonly slowReaderTimeoutMs: number;
  /** Bytes a second that a reader must take over each `slowReaderTimeoutMs` of waiting; 0: any byte will do. */
  readonly minReadRate: number;
  /** Called with the option's name when its limit is hit. */
  onLimit?(option: string): void;
}

export interface Reader {
  /** Bytes read so far. */
  readonly taken: number;
  /** Resolves once it has caught up or is gone. */
  drained(): Promise<void>;
}

/** A resource, such as a slot, that a lagging reader keeps from others. */
export interface Scarce {
  /** How long a lagging reader may keep it. */
  readonly slowReaderSlotTimeoutMs: number;
  /** Whether others wait for it right now. */
  isWanted(): boolean;
}

/** How often `isWanted` is polled. */
const pollMs = 500;

export class ReaderPace {
  readonly #bounds: ReaderBounds;
  readonly #now: () => number;
  /** Since the start of the current window. */
  #waitedMs = 0;
  #bytes = 0;
  #caughtUpAt = Number.NEGATIVE_INFINITY;

  constructor(bounds: ReaderBounds, now: () => number = () => performance.now()) {
    this.#bounds = bounds;
    this.#now = now;
  }

  /** Resolves when the reader has caught up or is gone. Throws `timeout` when it is too slow. */
  async catchUp(reader: Reader, scarce?: Scarce): Promise<void> {
    const { slowReaderTimeoutMs } = this.#bounds;
    const startedAt = this.#now();
    if (startedAt - this.#caughtUpAt >= slowReaderTimeoutMs) this.#begin(); // it kept up for as long
    const drained = reader.drained();
    for (let isDone = false; !isDone; ) {
      const [since, before] = [this.#now(), reader.taken];
      isDone = await within(drained, this.#patience(since - startedAt, scarce));
      this.#waitedMs += this.#now() - since;
      this.#bytes += reader.taken - before;
      if (this.#waitedMs >= slowReaderTimeoutMs) this.#judge();
      if (!isDone && scarce) this.#yield(this.#now() - startedAt, scarce);
    }
    this.#caughtUpAt = this.#now();
  }

  #begin(): void {
    this.#waitedMs = 0;
    this.#bytes = 0;
  }

  #patience(stalledMs: number, scarce: Scarce | undefined): number {
    const window = this.#bounds.slowReaderTimeoutMs - this.#waitedMs;
    return scarce ? Math.min(window, Math.max(pollMs, scarce.slowReaderSlotTimeoutMs - stalledMs)) : window;
  }

  #judge(): void {
    const { slowReaderTimeoutMs, minReadRate } = this.#bounds;
    if (this.#bytes <= 0)
      throw this.#tooSlow("slow-reader-timeout", `did not read for ${slowReaderTimeoutMs} ms`, slowReaderTimeoutMs);
    const least = Math.ceil((minReadRate * slowReaderTimeoutMs) / 1000);
    if (this.#bytes < least) {
      const found = `took ${this.#bytes} bytes in ${Math.round(this.#waitedMs)} ms, where at least ${least} are expected`;
      throw this.#tooSlow("min-read-rate", found, least);
    }
    this.#begin();
  }

  #yield(stalledMs: number, { slowReaderSlotTimeoutMs, isWanted }: Scarce): void {
    if (stalledMs < slowReaderSlotTimeoutMs || !isWanted()) return;
    const found = `was behind for ${Math.round(stalledMs)} ms while others waited for its slot`;
    throw this.#tooSlow("slow-reader-slot-timeout", found, slowReaderSlotTimeoutMs);
  }

  #tooSlow(option: string, clause: string, allowed: number): LorikeetError {
    this.#bounds.onLimit?.(option);
    return slowReaderFault(clause, allowed);
  }
}

/** The error that ends an answer whose reader is too slow. */
export function slowReaderFault(clause: string, allowed: number): LorikeetError {
  return new LorikeetError("timeout", `The reader ${clause}, so its request was ended.`, { allowed });
}
