/** What the server's routes need of a protocol. Each protocol has a folder of its own, and no use case imports one. */
import type { Answer } from "./answer.js";
import type { ErrorForm } from "./fault.js";
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
