/** What the server's routes need of a protocol. Each protocol has a folder of its own, and no use case imports one. */
import type { ErrorCode } from "../base/errors.js";
import type { Answer } from "./answer.js";
import type { Route } from "./observer.js";
import type { GenerationRequest } from "./requests.js";

/** A stream in a protocol's form is chunks, then one end. */
export type Frame =
  | { readonly type: "chunk"; readonly data: object }
  /** `marker` is what a stream of server-sent events ends with; `data` sums the answer up where frames are messages. */
  | { readonly type: "done"; readonly marker: string; readonly data: object };

/** Reads a request's body and writes its answer. `frames` or `whole` is called once for an answer. */
export interface Protocol<Request extends GenerationRequest = GenerationRequest> {
  /** What its requests count as. */
  readonly route: Route;
  /** Throws a LorikeetError that names every fault of an untrusted body. */
  read(body: unknown): Request;
  /** Throws the LorikeetError that ended the answer. A reader that leaves early cancels it. */
  frames(answer: Answer<Request>): AsyncIterable<Frame>;
  /** Throws the LorikeetError that ended the answer. */
  whole(answer: Answer<Request>): Promise<object>;
  readonly errorForm: ErrorForm;
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
