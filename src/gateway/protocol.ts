/** What the server's routes need from a protocol. Each protocol has its own folder, and no use case imports one. */
import type { Answer } from "./answer.js";
import type { ErrorForm } from "./fault.js";
import type { Route } from "./observer.js";
import type { GenerationRequest } from "./requests.js";

/** A stream in a protocol's format: chunks, then one end. */
export type Frame =
  /** `event` names a server-sent event, in protocols whose events have names. */
  | { readonly type: "chunk"; readonly event?: string; readonly data: object }
  /** `marker`, if any, ends a stream of server-sent events; `data` summarizes the answer where frames are messages. */
  | { readonly type: "done"; readonly marker: string | null; readonly data: object };

/** Parses a request's body and serializes its answer. Either `frames` or `whole` is called, once per answer. */
export interface Protocol<Request extends GenerationRequest = GenerationRequest> {
  /** The endpoint under which its requests are counted. */
  readonly route: Route;
  /** Throws a LorikeetError that names every fault of an untrusted body. */
  read(body: unknown): Request | Promise<Request>;
  /** Throws the LorikeetError that ended the answer. A reader that stops early cancels it. */
  frames(answer: Answer<Request>): AsyncIterable<Frame>;
  /** Throws the LorikeetError that ended the answer. */
  whole(answer: Answer<Request>): Promise<object>;
  readonly errorForm: ErrorForm;
  /** Sent while a stream is idle, if it is not a comment line. */
  readonly keepAlive?: Extract<Frame, { type: "chunk" }>;
}
