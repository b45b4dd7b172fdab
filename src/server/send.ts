/** Answers that are written at their reader's pace: never more in memory than the connection takes, and never for ever. */
import type { Response } from "express";
import { LorikeetError } from "../base/errors.js";

/**
 * Sends pieces as they come, and ends the answer; its head goes out with the first, so that a fault before it is a real status.
 * Returns when the reader has it all or has left. Throws what making a piece throws, and `timeout` when nothing was read for
 * `slowReaderMs`.
 */
export async function sendPieces(
  res: Response,
  pieces: AsyncIterable<Buffer | string>,
  slowReaderMs: number,
): Promise<void> {
  for await (const piece of pieces) {
    if (res.destroyed || res.req.method === "HEAD") break;
    if (!res.write(piece)) await readOrGiveUp(res, "drain", slowReaderMs);
  }
  if (res.destroyed) return;
  res.end();
  if (!res.writableFinished) await readOrGiveUp(res, "finish", slowReaderMs);
}

/** Throws LorikeetError `timeout` unless the event comes, or the reader leaves, in time. */
async function readOrGiveUp(res: Response, event: "drain" | "finish", slowReaderMs: number): Promise<void> {
  if (await happens(res, event, slowReaderMs)) return;
  const message = `The reader did not read for ${slowReaderMs} ms, so its answer was cut off.`;
  throw new LorikeetError("timeout", message, { allowed: slowReaderMs });
}

function happens(res: Response, event: "drain" | "finish", limitMs: number): Promise<boolean> {
  return new Promise((resolve) => {
    const settle = (isDone: boolean): void => {
      clearTimeout(timer);
      res.off(event, done).off("close", done);
      resolve(isDone);
    };
    const done = (): void => settle(true);
    const timer = setTimeout(() => settle(false), limitMs);
    res.on(event, done).on("close", done);
    if (res.destroyed || (event === "finish" && res.writableFinished)) settle(true);
  });
}
