/** Discards an unwanted body for a moment, so that the client can read the response, then closes the connection. */
import type { Request, Response } from "express";

/** Call this before sending an error. If the body has not ended, the connection closes after the response, within `lingerTimeoutMs`. */
export function discardBody(req: Request, res: Response, lingerTimeoutMs: number): void {
  if (!hasBody(req) || req.complete || req.readableEnded || req.destroyed) return;
  res.setHeader("connection", "close");
  req.unpipe();
  req.resume();
  res.once("finish", () => {
    const timer = setTimeout(() => req.socket.destroy(), lingerTimeoutMs);
    req.once("close", () => clearTimeout(timer));
  });
}

function hasBody({ headers }: Request): boolean {
  return headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0;
}
