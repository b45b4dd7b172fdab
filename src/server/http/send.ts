/** Writes responses at their reader's pace: bounded in memory, and bounded in time for a slow reader. */
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Response } from "express";
import { type ReaderBounds, ReaderPace } from "../reader-pace.js";
import { jsonPieces } from "./json-pieces.js";
import { ResponseReader } from "./response-reader.js";

/**
 * Sends pieces as they come, then ends the response. The head goes out with the first piece, so an earlier error still gets its
 * own status. Returns when everything is written or the client has disconnected. Throws what `pieces` throws, and `timeout` for
 * a reader that is too slow.
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

/** Sends a value as JSON: a small one at once, a large one in pieces so that other requests run in between. */
export async function sendJson(res: Response, value: unknown, bounds: ReaderBounds): Promise<void> {
  const pieces = jsonPieces(value);
  const first = pieces.next().value ?? "";
  const second = pieces.next();
  res.setHeader("content-type", "application/json; charset=utf-8");
  if (second.done) res.send(Buffer.from(first));
  else await sendPieces(res, inTurns([first, second.value], pieces), bounds);
}

/** Yields each piece in its own turn of the event loop. */
async function* inTurns(...groups: readonly Iterable<string>[]): AsyncGenerator<string, void, undefined> {
  for (const pieces of groups) {
    for (const piece of pieces) {
      yield piece;
      await nextTurn();
    }
  }
}
