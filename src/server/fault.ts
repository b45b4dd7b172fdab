/** Converts any thrown value, including express's own errors, to a fault that clients may read, and to a response. */
import type { Response } from "express";
import { LorikeetError } from "../base/errors.js";
import { handleShortage } from "../base/files.js";
import { jsonBreak } from "../base/json-break.js";
import type { ErrorForm, PublicFault } from "../gateway/fault.js";
import { openAiErrorForm } from "../gateway/openai/errors.js";
import { wellFormed } from "../text/characters.js";
import { hidePaths } from "./private-paths.js";

/** The fault as a client may see it: quoted request text becomes well-formed Unicode, which strict parsers need, and `privateFolders` are removed from paths. */
export function publicFault(error: LorikeetError, privateFolders: readonly string[]): PublicFault {
  const { status, code, type, message, param, faults } = error;
  const clean = (text: string): string => wellFormed(hidePaths(text, privateFolders));
  return {
    status,
    code,
    type,
    message: clean(message),
    param: param === undefined ? null : clean(param),
    faults: faults.map(clean),
  };
}

/** Headers that tell clients how to handle an error. */
export function faultHeaders({ code, retryAfterSeconds }: LorikeetError): Readonly<Record<string, string>> {
  if (code === "invalid_api_key") return { "www-authenticate": 'Bearer realm="lorikeet"' };
  return retryAfterSeconds === undefined ? {} : { "retry-after": String(retryAfterSeconds) };
}

/** Sends an error, unless the response has already started. */
export function sendFault(
  res: Response,
  error: LorikeetError,
  privateFolders: readonly string[],
  form: ErrorForm = openAiErrorForm,
): void {
  if (res.headersSent || res.destroyed) return;
  for (const [name, value] of Object.entries(faultHeaders(error))) res.setHeader(name, value);
  const { status, contentType, body } = form(publicFault(error, privateFolders), String(res.getHeader("x-request-id")));
  res.status(status);
  if (contentType === undefined) res.json(body);
  else res.setHeader("content-type", contentType).end(JSON.stringify(body));
}

/** The answer to a connection whose bytes Node cannot parse as a request. */
export function unreadable(error: Error): LorikeetError {
  const code = "code" in error ? error.code : null;
  if (code === "HPE_HEADER_OVERFLOW") {
    return new LorikeetError(
      "headers_too_large",
      "The request's headers are too large; `--max-header-bytes` bounds them.",
    );
  }
  if (code === "ERR_HTTP_REQUEST_TIMEOUT") {
    return new LorikeetError("timeout", "The request's headers did not arrive in time; `--headers-timeout` bounds it.");
  }
  return new LorikeetError("invalid_value", "The bytes on this connection are not a valid HTTP/1.1 request.");
}

/** express and its body parser throw their own errors, which differ in `type` and `status`. */
export function toFault(error: unknown, maxBodyBytes: number): LorikeetError {
  if (error instanceof LorikeetError) return error;
  const shortage = handleShortage(error); // can happen even while a body is read: parsers load their parts on first use
  if (shortage) return shortage;
  const { type, status, found, limit } = foreign(error);
  if (type === "entity.too.large") {
    const size = found === null ? "" : ` of ${found} bytes`;
    const allowed = limit ?? maxBodyBytes;
    const option = allowed === maxBodyBytes ? " (--max-body-bytes)" : "";
    const message = `The body${size} is too large; at most ${allowed} bytes are allowed${option}.`;
    return new LorikeetError("too_large", message, { found, allowed });
  }
  if (type === "request.aborted")
    return new LorikeetError("cancelled", "The client disconnected before its body was read.");
  if (status === 415)
    return new LorikeetError("unsupported_media_type", "The body's encoding is not supported; send it uncompressed.");
  if (status !== null && status < 500)
    return new LorikeetError(
      "invalid_value",
      "The request could not be read; its path, headers or body are malformed.",
    );
  return new LorikeetError("internal", "The server failed to answer; its log says why.", { cause: error });
}

/** Says where a message is malformed, without quoting it. */
export function notJson(what: "body" | "message", text: string): string {
  return `The ${what} is not valid JSON: ${jsonBreak(text)}.`;
}

interface ForeignFault {
  readonly type: string | null;
  readonly status: number | null;
  readonly found: number | null;
  readonly limit: number | null;
}

function foreign(error: unknown): ForeignFault {
  if (typeof error !== "object" || error === null) return { type: null, status: null, found: null, limit: null };
  const type = "type" in error && typeof error.type === "string" ? error.type : null;
  const status = "status" in error && typeof error.status === "number" ? error.status : null;
  const length = "length" in error && typeof error.length === "number" ? error.length : null;
  const limit = "limit" in error && typeof error.limit === "number" ? error.limit : null;
  return { type, status, found: length, limit };
}
