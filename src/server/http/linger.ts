/** Discards an unwanted body for a moment, so that the client can read the response, then closes the connection. */
import type { Request, Response } from "express";

/** Call this before sending an error. If the body has not ended, the connection closes after the response, within `lingerTimeoutMs`. */
export function discardBody(req: Request, res: Response, lingerTimeoutMs: number): void {
  if (!hasBody(req) || req.complete || req.readableEnded || req.destroyed) return;
  res.setHeader("connection", "close");
  req.unpipe();
  req.resume();
  const { socket } = req;
  // Node.js would close both directions now: what the client still sends would reset the connection, and it would lose the response.
  socket.destroySoon = () => void socket.end();
  res.once("finish", () => {
    const timer = setTimeout(() => socket.destroy(), lingerTimeoutMs);
    req.once("close", () => {
      clearTimeout(timer);
      socket.destroy();
    });
  });
}

function hasBody({ headers }: Request): boolean {
  return headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0;
}
