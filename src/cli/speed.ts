/** Measures the speed of work over its last seconds. Older speed says little about the time left. */

interface Sample {
  readonly ms: number;
  readonly done: number;
}

const windowMs = 10_000;
const spacingMs = 500;

export class Speed {
  #samples: Sample[] = [];

  /** `done` may start above 0: work that an earlier run finished does not count. */
  add(ms: number, done: number): void {
    const last = this.#samples.at(-1);
    if (last && done < last.done) this.#samples = []; // the work restarted
    if (last && done >= last.done && ms - last.ms < spacingMs) return;
    this.#samples.push({ ms, done });
    while ((this.#samples[1]?.ms ?? ms) < ms - windowMs) this.#samples.shift();
  }

  /** The current speed, in units of `done` per second. */
  perSecond(ms: number, done: number): number {
    const [oldest] = this.#samples;
    return oldest && ms > oldest.ms ? Math.max(0, ((done - oldest.done) * 1000) / (ms - oldest.ms)) : 0;
  }
}

/** `100` → "100 s", `1000` → "17 min"; null past two days, where an estimate is a guess. */
export function formatLeft(seconds: number): string | null {
  if (seconds > 172_800) return null;
  if (seconds < 600) return `${Math.ceil(seconds)} s`;
  return seconds < 7200 ? `${Math.ceil(seconds / 60)} min` : `${Math.ceil(seconds / 3600)} h`;
}
