/** Converts whatever was thrown into a fault that a protocol may report to a client. */
import { type ErrorCode, LorikeetError } from "../base/errors.js";

/** Any thrown value as a LorikeetError. */
export function asFault(error: unknown): LorikeetError {
  if (error instanceof LorikeetError) return error;
  return new LorikeetError("internal", "The server failed to answer; its log says why.", { cause: error });
}

/** A fault as a client may see it: its texts are well-formed and name no local folder. */
export interface PublicFault {
  readonly status: number;
  readonly code: ErrorCode;
  readonly type: string;
  readonly message: string;
  readonly param: string | null;
  /** Every fault, if several were found at once. */
  readonly faults: readonly string[];
}

/** How a protocol reports a fault of a request. */
export type ErrorForm = (
  fault: PublicFault,
  requestId: string,
) => {
  readonly status: number;
  /** Default: `application/json; charset=utf-8`. */
  readonly contentType?: string;
  /** The name of the server-sent event that reports a fault inside a stream. Default: none. */
  readonly event?: string;
  readonly body: object;
};
