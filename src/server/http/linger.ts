/** What happens to a body that will not be read: it is discarded for a moment, so that the client can read the answer, then the connection is cut. */
import type { Request, Response } from "express";

/** Call it before an error is sent. Where the body has not ended, the connection ends with the answer, at the latest after `lingerTimeoutMs`. */
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
