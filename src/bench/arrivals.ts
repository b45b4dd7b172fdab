/** When the tokens of several streams arrived, and how fast they came while all of them ran. Pure. */

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
