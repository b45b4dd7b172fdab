/** The last minutes of the server's metrics. Read while the page is visible, more often while someone looks at them. */
import { signal } from "@preact/signals";
import { client, connection, noteFailure } from "../session.js";
import { isRestart, type Point, pointOf, type Reading, readingOf } from "./reading.js";

const watchedMs = 2_000;
const otherwiseMs = 5_000;
/** Rates between two readings that lie closer are noise. */
const shortestMs = 500;
/** A reading that takes longer has failed. */
const patienceMs = 10_000;
/** Charts show this much. */
export const spanMs = 5 * 60_000;
/** Quantiles and hits are over this much. */
const windowMs = 60_000;

export const points = signal<readonly Point[]>([]);
export const loadFault = signal<string | null>(null);

let readings: readonly Reading[] = [];
let isWatched = false;
let isReading = false;
let timer = 0;

export function watchLoad(): () => void {
  isWatched = true;
  void turn();
  return () => {
    isWatched = false;
  };
}

/** Reads and plans the next reading, unless a reading is under way, which plans the next one itself. */
export async function turn(): Promise<void> {
  if (isReading) return;
  clearTimeout(timer);
  isReading = true;
  if (!document.hidden && connection.value.state === "ready") await read();
  isReading = false;
  timer = window.setTimeout(turn, isWatched ? watchedMs : otherwiseMs);
}

async function read(): Promise<void> {
  try {
    take(readingOf(await client.metrics(AbortSignal.timeout(patienceMs)), Date.now()));
    loadFault.value = null;
  } catch (error) {
    loadFault.value = noteFailure(error);
  }
}

function take(now: Reading): void {
  const before = readings.at(-1);
  if (!before || isRestart(before, now)) {
    readings = [now];
    return;
  }
  if (now.at - before.at < shortestMs) return;
  readings = [...readings.filter(({ at }) => at >= now.at - windowMs), now];
  const [start = before] = readings;
  points.value = [...points.value.filter(({ at }) => at >= now.at - spanMs), pointOf(start, before, now)];
}
