/**
 * Bounds the log lines that wait for a slow stream. Beyond the limit, lines are dropped and counted: a log reader that hangs must
 * not use up the server's memory.
 */

import type { ProgressStream } from "../progress.js";

/** A stream that may report how many bytes wait in it. Without that, it counts as never behind. */
export interface LogStream extends ProgressStream {
  readonly writableLength?: number;
  once?(event: "drain", listener: () => void): unknown;
}

export class LogQueue {
  readonly #stream: LogStream;
  readonly #maxBytes: number;
  /** Called with the number of dropped lines once the stream has drained. */
  onRecovered: (lines: number) => void = () => {};
  #dropped = 0;
  #unreported = 0;

  constructor(stream: LogStream, maxBytes: number) {
    this.#stream = stream;
    this.#maxBytes = maxBytes;
  }

  /** Lines dropped since the start. */
  get dropped(): number {
    return this.#dropped;
  }

  write(line: string): void {
    if (this.#unreported > 0 || (this.#stream.writableLength ?? 0) > this.#maxBytes) this.#drop();
    else this.#stream.write(line);
  }

  /** Drops all lines until the stream has drained, so that there is a single gap. */
  #drop(): void {
    this.#dropped++;
    if (this.#unreported++ > 0) return;
    this.#stream.once?.("drain", () => {
      const lines = this.#unreported;
      this.#unreported = 0;
      this.onRecovered(lines);
    });
  }
}
