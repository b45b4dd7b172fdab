/** Middleware that reads a JSON body: bounded in bytes and in time, and only where a body is said to be JSON. */
import express, { type NextFunction, type Request, type Response } from "express";
import { LorikeetError } from "../../base/errors.js";

export interface BodyBounds {
  readonly maxBodyBytes: number;
  readonly bodyTimeoutMs: number;
}

export function jsonBody(bounds: BodyBounds) {
  const parse = express.json({ limit: bounds.maxBodyBytes, strict: false, inflate: false });
  return (req: Request, res: Response, next: NextFunction): void => {
    if (!req.is("application/json")) {
      const message = "The body must be JSON, sent with `content-type: application/json`.";
      const found = req.headers["content-type"] ?? null;
      next(new LorikeetError("unsupported_media_type", message, { found, allowed: "application/json" }));
      return;
    }
    const charset = otherCharset(req.headers["content-type"] ?? "");
    if (charset !== undefined) {
      const message = `The body's charset is ${JSON.stringify(charset)}; JSON must be sent as UTF-8.`;
      next(new LorikeetError("unsupported_media_type", message, { found: charset, allowed: "utf-8" }));
      return;
    }
    let isOver = false;
    const finish = (error?: unknown): void => {
      if (isOver) return;
      isOver = true;
      clearTimeout(timer);
      next(error);
    };
    const timer = setTimeout(() => {
      // What is still to come would be read as the next request: this connection ends with its answer.
      res.setHeader("connection", "close");
      const message = `The body did not arrive within ${bounds.bodyTimeoutMs} ms.`;
      finish(new LorikeetError("timeout", message, { allowed: bounds.bodyTimeoutMs }));
    }, bounds.bodyTimeoutMs);
    parse(req, res, finish);
  };
}

/** The first charset that a content type names and that is not UTF-8; Express reads several, and takes some of them for others. */
function otherCharset(contentType: string): string | undefined {
  const named = [...contentType.matchAll(/;\s*charset\s*=\s*"?([^\s";]*)/gi)].map(([, charset = ""]) => charset);
  return named.find((charset) => !/^utf-?8$/i.test(charset));
}
