/** Shows the progress of long work: one redrawn line on a terminal, a line every few seconds elsewhere. */

import type { Progress } from "../base/log.js";
import { formatBytes } from "./options/units.js";
import { formatLeft, Speed } from "./speed.js";

/** Progress is written here; `isTTY` selects the form. */
export interface ProgressStream {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

export interface ProgressLine {
  readonly report: Progress;
  /** Clears the terminal's line. Call it before anything else is printed. */
  end(): void;
}

/** Work that ends within `quietMs` is not shown. Off a terminal, at most one line per `everyMs`. */
export function progressLine(
  stream: ProgressStream,
  options: { readonly now?: () => number; readonly quietMs?: number; readonly everyMs?: number } = {},
): ProgressLine {
  const { now = Date.now, quietMs = 1000, everyMs = stream.isTTY ? 100 : 5000 } = options;
  let started = now();
  let speed = new Speed();
  let shown = Number.NEGATIVE_INFINITY;
  const drawn = drawnLine(stream);
  let current = "";
  return {
    report(what, done, total, unit) {
      if (what !== current) {
        current = what;
        started = now();
        speed = new Speed();
      }
      const time = now();
      speed.add(time, done);
      const due = time - started >= quietMs && time - shown >= everyMs;
      const isDone = total > 0 && done >= total;
      if (isDone ? !drawn.isShown : !due) return;
      shown = time;
      const perSecond = speed.perSecond(time, done);
      drawn.draw(describe({ what, done, total, seconds: (time - started) / 1000, perSecond, unit }));
    },
    end() {
      drawn.clear();
      current = ""; // if the same work starts over, so does its time
    },
  };
}

/** A line that replaces the one drawn before on a terminal; elsewhere each is printed below the last. */
export function drawnLine(stream: ProgressStream) {
  let isShown = false;
  return {
    /** Whether a line of a terminal is to be replaced. */
    get isShown(): boolean {
      return isShown;
    },
    draw(line: string): void {
      if (stream.isTTY) stream.write(`\r\x1b[K${line.slice(0, (stream.columns ?? 80) - 1)}`);
      else stream.write(`${line}\n`);
      isShown = stream.isTTY === true;
    },
    clear(): void {
      if (isShown) stream.write("\r\x1b[K");
      isShown = false;
    },
  };
}

/** Repeats the last report every second until `end`, so that work of unknown length still shows its time. */
export function tickingLine(stream: ProgressStream, line: ProgressLine = progressLine(stream)): ProgressLine {
  let timer: NodeJS.Timeout | null = null;
  let last: Parameters<Progress> = ["", 0, 0];
  return {
    report(...report) {
      last = report;
      line.report(...last);
      timer ??= setInterval(() => line.report(...last), tickMs).unref();
    },
    end() {
      if (timer) clearInterval(timer);
      timer = null;
      line.end();
    },
  };
}

const tickMs = 1000;

interface Report {
  readonly what: string;
  readonly done: number;
  readonly total: number;
  /** Since the work was first reported. */
  readonly seconds: number;
  /** Units of `done`. */
  readonly perSecond: number;
  readonly unit: "bytes" | undefined;
}

function describe({ what, done, total, seconds, perSecond, unit }: Report): string {
  if (total <= 0) return `${what} (${seconds.toFixed(0)} s)`;
  const percent = Math.min(100, Math.floor((100 * done) / total));
  const time = perSecond > 0 && done < total ? formatLeft((total - done) / perSecond) : null;
  const left = time === null ? "" : `, about ${time} left`;
  const speed = unit === "bytes" ? ` of ${formatBytes(total)}, ${formatBytes(Math.round(perSecond))}/s` : "";
  return `${what}: ${percent} %${speed}${left}`;
}
