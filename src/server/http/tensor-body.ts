/** Middleware that reads a request of the Open Inference Protocol: JSON, and the bytes of tensors after it where a header says how long the JSON is. */
import type { RequestHandler } from "express";
import { LorikeetError } from "../../base/errors.js";
import { BinaryMessage } from "../../gateway/kserve/message.js";
import { toFault } from "../fault.js";
import { type BodyBounds, bytesWithin, jsonBody, parseJson } from "./json-body.js";

export interface TensorBounds extends BodyBounds {
  /** Of all tensors of a request. */
  readonly maxTensorBytes: number;
}

/** The length of the JSON in a body with bytes after it. */
export const headLengthHeader = "inference-header-content-length";

/** Leaves parsed JSON, or a BinaryMessage. Triton's client for Python sends JSON without a content type. */
export function tensorBody(bounds: TensorBounds): RequestHandler {
  const json = jsonBody(bounds, true);
  const read = bytesWithin({ ...bounds, maxBodyBytes: bounds.maxBodyBytes + bounds.maxTensorBytes });
  return (req, res, next) => {
    const given = req.headers[headLengthHeader];
    if (given === undefined) {
      json(req, res, (error?: unknown) => next(error === undefined ? error : withBytes(error, bounds)));
      return;
    }
    const length = typeof given === "string" && /^\d{1,15}$/.test(given) ? Number(given) : null;
    if (length === null) {
      next(invalidLength("must be a number of bytes"));
      return;
    }
    if (length > bounds.maxBodyBytes) {
      const message = `The JSON of ${length} bytes is too large; at most ${bounds.maxBodyBytes} bytes are allowed (--max-body-bytes).`;
      next(new LorikeetError("too_large", message, { found: length, allowed: bounds.maxBodyBytes }));
      return;
    }
    read(req, res, (error?: unknown) => {
      if (error !== undefined) return next(error);
      const bytes: Buffer = Buffer.isBuffer(req.body) ? req.body : Buffer.alloc(0);
      if (length > bytes.length) return next(invalidLength(`is ${length}; the body has ${bytes.length} bytes`));
      const head = parseJson(bytes.subarray(0, length));
      if (head instanceof LorikeetError) return next(head);
      req.body = new BinaryMessage(head.value, [bytes.subarray(length)]);
      next();
    });
  };
}

/** Of JSON that is too large or that something follows: how tensors come as bytes. */
function withBytes(error: unknown, { maxBodyBytes, maxTensorBytes }: TensorBounds): LorikeetError {
  const fault = toFault(error, maxBodyBytes);
  const { code, message, found, allowed } = fault;
  if (code === "unsupported_media_type" && allowed === "application/json") {
    const remedy =
      "If tensors follow as bytes, send the length of the JSON in the header Inference-Header-Content-Length";
    return new LorikeetError(code, `${message} ${remedy}.`, { found, allowed });
  }
  if (code !== "too_large") return fault;
  const remedy = `Tensors that follow the JSON as bytes may have ${maxTensorBytes} bytes (--max-tensor-bytes)`;
  return new LorikeetError("too_large", `${message} ${remedy}.`, { found, allowed });
}

function invalidLength(clause: string): LorikeetError {
  const message = `The header Inference-Header-Content-Length ${clause}.`;
  return new LorikeetError("invalid_value", message, { param: "Inference-Header-Content-Length" });
}
