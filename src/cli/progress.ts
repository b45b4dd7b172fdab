/** Shows a person that long work goes on: one line redrawn on a terminal, a line every few seconds elsewhere. */

import type { Progress } from "../base/log.js";
import { formatBytes } from "./options/units.js";

/** Where progress is written; `isTTY` chooses the form. */
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

/** Work that ends within `quietMs` is never mentioned; elsewhere than on a terminal at most one line each `everyMs`. */
export function progressLine(
  stream: ProgressStream,
  options: { readonly now?: () => number; readonly quietMs?: number; readonly everyMs?: number } = {},
): ProgressLine {
  const { now = Date.now, quietMs = 1000, everyMs = stream.isTTY ? 100 : 5000 } = options;
  let started = now();
  let first = 0;
  let shown = Number.NEGATIVE_INFINITY;
  let drawn = false;
  let current = "";
  return {
    report(what, done, total, unit) {
      if (what !== current) {
        current = what;
        started = now();
        first = done;
      }
      const time = now();
      const due = time - started >= quietMs && time - shown >= everyMs;
      const isDone = total > 0 && done >= total;
      if (isDone ? !drawn : !due) return;
      shown = time;
      const line = describe({ what, done, total, first, seconds: (time - started) / 1000, isBytes: unit === "bytes" });
      if (stream.isTTY) stream.write(`\r\x1b[K${line.slice(0, (stream.columns ?? 80) - 1)}`);
      else stream.write(`${line}\n`);
      drawn = stream.isTTY === true;
    },
    end() {
      if (drawn) stream.write("\r\x1b[K");
      drawn = false;
      current = ""; // the same work, begun again, is timed anew
    },
  };
}

/** A line that repeats its last report every second until its end: work that cannot say how far it is shows that it goes on. */
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
  /** What was done when the work was first reported, as where it goes on with what an earlier run has left. */
  readonly first: number;
  readonly seconds: number;
  readonly isBytes: boolean;
}

function describe({ what, done, total, first, seconds, isBytes }: Report): string {
  if (total <= 0) return `${what} (${seconds.toFixed(0)} s)`;
  const percent = Math.min(100, Math.floor((100 * done) / total));
  const rate = seconds > 0 ? (done - first) / seconds : 0;
  const left = rate > 0 && done < total ? `, about ${Math.ceil((total - done) / rate)} s left` : "";
  const sizes = isBytes ? ` of ${formatBytes(total)}, ${formatBytes(Math.max(0, Math.round(rate)))}/s` : "";
  return `${what}: ${percent} %${sizes}${left}`;
}
