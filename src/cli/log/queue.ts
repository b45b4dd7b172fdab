/**
 * What stands between the logger and a stream that may be slow: so many bytes wait, then lines are dropped and counted, since
 * a reader of logs that hangs must not take the server's memory.
 */

import type { ProgressStream } from "../progress.js";

/** A stream that says how much waits in it. One that says nothing is never behind. */
export interface LogStream extends ProgressStream {
  readonly writableLength?: number;
  once?(event: "drain", listener: () => void): unknown;
}

export class LogQueue {
  readonly #stream: LogStream;
  readonly #maxBytes: number;
  /** Told how many lines were lost once the stream takes lines again. */
  onRecovered: (lines: number) => void = () => {};
  #dropped = 0;
  #untold = 0;

  constructor(stream: LogStream, maxBytes: number) {
    this.#stream = stream;
    this.#maxBytes = maxBytes;
  }

  /** Lines that were dropped since the start. */
  get dropped(): number {
    return this.#dropped;
  }

  write(line: string): void {
    if (this.#untold > 0 || (this.#stream.writableLength ?? 0) > this.#maxBytes) this.#drop();
    else this.#stream.write(line);
  }

  /** The first lost line waits for the stream to be empty; those until then are lost too, so that the gap is one. */
  #drop(): void {
    this.#dropped++;
    if (this.#untold++ > 0) return;
    this.#stream.once?.("drain", () => {
      const lines = this.#untold;
      this.#untold = 0;
      this.onRecovered(lines);
    });
  }
}
