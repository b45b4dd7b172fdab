/** Answers that are written at their reader's pace: never more in memory than the connection takes, and never for ever. */
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Response } from "express";
import { LorikeetError } from "../../base/errors.js";
import { jsonPieces } from "./json-pieces.js";

/** What ends an answer that nobody reads. */
export function slowReaderFault(slowReaderMs: number): LorikeetError {
  const message = `The reader did not read for ${slowReaderMs} ms, so its request was ended.`;
  return new LorikeetError("timeout", message, { allowed: slowReaderMs });
}

export interface ReaderBounds {
  readonly slowReaderMs: number;
  /** Told of each limit that is met, by its option. */
  onLimit?(option: string): void;
}

/**
 * Sends pieces as they come, and ends the answer; its head goes out with the first, so that a fault before it is a real status.
 * Returns once all is written or the reader has left. Throws what making a piece throws, and `timeout` when nothing was read
 * for `slowReaderMs`.
 */
export async function sendPieces(
  res: Response,
  pieces: AsyncIterable<Buffer | string>,
  bounds: ReaderBounds,
): Promise<void> {
  for await (const piece of pieces) {
    if (res.destroyed || res.req.method === "HEAD") break;
    if (res.write(piece) || (await drained(res, bounds.slowReaderMs))) continue;
    bounds.onLimit?.("slow-reader");
    throw slowReaderFault(bounds.slowReaderMs);
  }
  if (!res.destroyed) res.end();
}

/** Sends a value as JSON: a small one whole, a large one in pieces between which others get their turn. */
export async function sendJson(res: Response, value: unknown, bounds: ReaderBounds): Promise<void> {
  const pieces = jsonPieces(value);
  const first = pieces.next().value ?? "";
  const second = pieces.next();
  res.setHeader("content-type", "application/json; charset=utf-8");
  if (second.done) res.send(Buffer.from(first));
  else await sendPieces(res, inTurns([first, second.value], pieces), bounds);
}

/** The pieces, each in a turn of the event loop of its own. */
async function* inTurns(...groups: readonly Iterable<string>[]): AsyncGenerator<string, void, undefined> {
  for (const pieces of groups) {
    for (const piece of pieces) {
      yield piece;
      await nextTurn();
    }
  }
}

/** Whether the reader caught up, or left, in time. */
function drained(res: Response, limitMs: number): Promise<boolean> {
  return new Promise((resolve) => {
    const settle = (isDone: boolean): void => {
      clearTimeout(timer);
      res.off("drain", done).off("close", done);
      resolve(isDone);
    };
    const done = (): void => settle(true);
    const timer = setTimeout(() => settle(false), limitMs);
    res.on("drain", done).on("close", done);
    if (res.destroyed) settle(true);
  });
}
