/** Counts the bytes written to a response and the bytes that its reader has taken. */
import type { Response } from "express";
import type { Reader } from "../reader-pace.js";

export class ResponseReader implements Reader {
  readonly #res: Response;
  #written = 0;

  constructor(res: Response) {
    this.#res = res;
  }

  get taken(): number {
    return this.#written - this.#res.writableLength;
  }

  /** False when the reader is behind: await `drained` before the next piece. */
  write(piece: Buffer | string): boolean {
    this.#written += Buffer.byteLength(piece);
    return this.#res.write(piece);
  }

  drained(): Promise<void> {
    const res = this.#res;
    return new Promise((resolve) => {
      if (!res.writableNeedDrain || res.destroyed) return resolve();
      const done = (): void => {
        res.off("drain", done).off("close", done);
        resolve();
      };
      res.on("drain", done).on("close", done);
    });
  }
}
