/** When the tokens of several streams arrive, and how fast they come while all of them run. Knows no wire and no clock. */

/** Milliseconds of each token of a stream, ascending. */
export type Arrivals = readonly number[];

/**
 * Tokens a second from the moment when the last stream had its first token until the first stream had its last: starts and
 * ends, when fewer rows run, do not enter. Throws RangeError when the streams never ran all at once.
 */
export function steadyRate(streams: readonly Arrivals[]): number {
  const from = Math.max(...streams.map((arrivals) => arrivals[0] ?? Number.POSITIVE_INFINITY));
  const to = Math.min(...streams.map((arrivals) => arrivals.at(-1) ?? Number.NEGATIVE_INFINITY));
  if (!(to > from)) throw new RangeError(`${streams.length} streams never ran all at once (from ${from} to ${to} ms)`);
  let tokens = 0;
  for (const arrivals of streams) for (const at of arrivals) if (at > from && at <= to) tokens++;
  return (tokens * 1000) / (to - from);
}

/** Notes tokens as they come, and calls `done` once when every stream has brought `wanted` since the last one began. */
export class StreamWatch {
  readonly #streams: number[][];
  readonly #wanted: number;
  readonly #done: () => void;
  /** Tokens of each stream since all have begun. */
  #together: number[] | null = null;
  #isDone = false;

  constructor(streams: number, wanted: number, done: () => void) {
    this.#streams = Array.from({ length: streams }, () => []);
    this.#wanted = wanted;
    this.#done = done;
  }

  /** A token of a stream came. After `done` none counts. */
  note(stream: number, atMs: number): void {
    if (this.#isDone) return;
    this.#streams[stream]?.push(atMs);
    if (!this.#together) {
      if (this.#streams.every((arrivals) => arrivals.length > 0)) this.#together = this.#streams.map(() => 0);
      return;
    }
    this.#together[stream] = (this.#together[stream] ?? 0) + 1;
    if (!this.#together.every((count) => count >= this.#wanted)) return;
    this.#isDone = true;
    this.#done();
  }

  get arrivals(): readonly Arrivals[] {
    return this.#streams;
  }
}
