/** Faults on their way to a client: from whatever was thrown to what a protocol may tell. */
import { type ErrorCode, LorikeetError } from "../base/errors.js";

/** Any thrown thing as a LorikeetError. */
export function asFault(error: unknown): LorikeetError {
  if (error instanceof LorikeetError) return error;
  return new LorikeetError("internal", "The server failed to answer; its log says why.", { cause: error });
}

/** A fault as a client may read it: its texts are well formed and name no folder of this machine. */
export interface PublicFault {
  readonly status: number;
  readonly code: ErrorCode;
  readonly type: string;
  readonly message: string;
  readonly param: string | null;
  /** Every fault, where several were found at once. */
  readonly faults: readonly string[];
}

/** How a protocol tells of a fault. */
export type ErrorForm = (fault: PublicFault) => {
  readonly status: number;
  /** Where it is not `application/json; charset=utf-8`. */
  readonly contentType?: string;
  readonly body: object;
};
