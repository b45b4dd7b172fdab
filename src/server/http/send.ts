/** Answers that are written at their reader's pace: never more in memory than the connection takes, and never for ever. */
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Response } from "express";
import { type ReaderBounds, ReaderPace } from "../reader-pace.js";
import { jsonPieces } from "./json-pieces.js";
import { ResponseReader } from "./response-reader.js";

/**
 * Sends pieces as they come, and ends the answer; its head goes out with the first, so that a fault before it is a real status.
 * Returns once all is written or the reader has left. Throws what making a piece throws, and `timeout` for a reader that is
 * too slow.
 */
export async function sendPieces(
  res: Response,
  pieces: AsyncIterable<Buffer | string>,
  bounds: ReaderBounds,
): Promise<void> {
  const reader = new ResponseReader(res);
  const pace = new ReaderPace(bounds);
  for await (const piece of pieces) {
    if (res.destroyed || res.req.method === "HEAD") break;
    if (!reader.write(piece)) await pace.catchUp(reader);
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
