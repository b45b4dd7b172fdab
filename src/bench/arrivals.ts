/** Token arrivals of concurrent streams, and their steady rate while all streams run. */

import { at } from "../base/list.js";

/** The times of a stream's tokens in milliseconds, ascending. */
export type Arrivals = readonly number[];

/**
 * Tokens per second from the last stream's first token to the first stream's last token. So starts and ends, when fewer rows run,
 * do not count. Throws RangeError if the streams never all ran at once.
 */
export function steadyRate(streams: readonly Arrivals[]): number {
  const from = Math.max(...streams.map((arrivals) => arrivals[0] ?? Number.POSITIVE_INFINITY));
  const to = Math.min(...streams.map((arrivals) => arrivals.at(-1) ?? Number.NEGATIVE_INFINITY));
  if (!(to > from)) throw new RangeError(`${streams.length} streams never all ran at once (from ${from} to ${to} ms)`);
  let tokens = 0;
  for (const arrivals of streams) for (const at of arrivals) if (at > from && at <= to) tokens++;
  return (tokens * 1000) / (to - from);
}

/** Counts tokens as they arrive, and calls `done` once every stream has produced `wanted` tokens since the last one started. */
export class StreamWatch {
  readonly #streams: number[][];
  readonly #wanted: number;
  readonly #done: () => void;
  /** Tokens of each stream since all have started. */
  #together: number[] | null = null;
  #isDone = false;

  constructor(streams: number, wanted: number, done: () => void) {
    this.#streams = Array.from({ length: streams }, () => []);
    this.#wanted = wanted;
    this.#done = done;
  }

  /** Records a token of a stream. Ignored after `done`. */
  note(stream: number, atMs: number): void {
    if (this.#isDone) return;
    at(this.#streams, stream).push(atMs);
    if (!this.#together) {
      if (this.#streams.every((arrivals) => arrivals.length > 0)) this.#together = this.#streams.map(() => 0);
      return;
    }
    this.#together[stream] = at(this.#together, stream) + 1;
    if (!this.#together.every((count) => count >= this.#wanted)) return;
    this.#isDone = true;
    this.#done();
  }

  get arrivals(): readonly Arrivals[] {
    return this.#streams;
  }
}
