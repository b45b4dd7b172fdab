/** Middleware that reads a JSON body, or a picture, bounded in bytes and time. */
import express, { type RequestHandler } from "express";
import { LorikeetError } from "../../base/errors.js";
import { notJson } from "../fault.js";

export interface BodyBounds {
  readonly maxBodyBytes: number;
  readonly bodyTimeoutMs: number;
}

/** Other content types are refused. `mayBeUntyped`: a body without any is read, too. */
export function jsonBody(bounds: BodyBounds, mayBeUntyped = false): RequestHandler {
  const read = bytesWithin(bounds);
  return (req, res, next) => {
    const isUntyped = mayBeUntyped && req.headers["content-type"] === undefined;
    if (!isUntyped && !req.is("application/json")) {
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
    read(req, res, (error?: unknown) => {
      if (error !== undefined) return next(error);
      const parsed = parseJson(Buffer.isBuffer(req.body) ? req.body : Buffer.alloc(0));
      if (parsed instanceof LorikeetError) return next(parsed);
      req.body = parsed.value;
      next();
    });
  };
}

export interface PictureBounds extends BodyBounds {
  readonly maxImageBytes: number;
}

/** JSON is parsed, and may hold a picture in base64; anything else is a picture, left as bytes. */
export function pictureBody(bounds: PictureBounds): RequestHandler {
  const inBase64 = Math.ceil((bounds.maxImageBytes * 4) / 3);
  const json = jsonBody({ ...bounds, maxBodyBytes: bounds.maxBodyBytes + inBase64 });
  const picture = bytesWithin({ ...bounds, maxBodyBytes: bounds.maxImageBytes });
  return (req, res, next) => {
    if (req.is("multipart/form-data")) {
      const message =
        "The body must be JSON or the bytes of a picture, as `curl --data-binary @photo.png` sends them; a form is not read.";
      next(new LorikeetError("unsupported_media_type", message, { found: "multipart/form-data" }));
      return;
    }
    (req.is("application/json") ? json : picture)(req, res, next);
  };
}

/** Reads a body of at most so many bytes, and leaves them as they came. */
export function bytesWithin(bounds: BodyBounds): RequestHandler {
  // express.json() loads its decoders from disk at the first body, which fails when no file handle is free.
  const read = express.raw({ type: () => true, limit: bounds.maxBodyBytes, inflate: false });
  return (req, res, next) => {
    const length = Number(req.headers["content-length"] ?? 0);
    if (length > bounds.maxBodyBytes) {
      // The parser would refuse it too, but not before all of it has arrived.
      const told = { type: "entity.too.large", length, limit: bounds.maxBodyBytes };
      next(Object.assign(new Error("The body is too large."), told));
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
      // The rest of the body would be read as the next request, so this connection closes after the response.
      res.setHeader("connection", "close");
      const message = `The body did not arrive within ${bounds.bodyTimeoutMs} ms.`;
      finish(new LorikeetError("timeout", message, { allowed: bounds.bodyTimeoutMs }));
    }, bounds.bodyTimeoutMs);
    read(req, res, finish);
  };
}

const utf8 = new TextDecoder("utf-8", { fatal: true });

/** The value of JSON, an empty object for no bytes; an error for bytes that are not JSON. */
export function parseJson(bytes: Uint8Array): { readonly value: unknown } | LorikeetError {
  let text: string | null = null;
  try {
    text = utf8.decode(bytes);
    return { value: text === "" ? {} : JSON.parse(text) };
  } catch {
    const message = text === null ? "The body is not valid UTF-8." : notJson("body", text);
    return new LorikeetError("invalid_value", message, { param: "body" });
  }
}

/** The first charset in the content type that is not UTF-8. Express would decode several, some of them wrongly. */
function otherCharset(contentType: string): string | undefined {
  const named = [...contentType.matchAll(/;\s*charset\s*=\s*"?([^\s";]*)/gi)].map(([, charset = ""]) => charset);
  return named.find((charset) => !/^utf-?8$/i.test(charset));
}
