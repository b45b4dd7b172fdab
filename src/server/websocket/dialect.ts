/** What the messages of a WebSocket mean: each path has its dialect, and a session speaks one. */
import { LorikeetError } from "../../base/errors.js";
import type { Json } from "../../base/json.js";
import type { Answer } from "../../gateway/answer.js";
import type { PublicFault } from "../../gateway/fault.js";
import type { RequestSummary } from "../../gateway/observer.js";
import type { Frame } from "../../gateway/protocol.js";

/** One request. */
export interface SocketRequest {
  /** Identifies it on its socket. */
  readonly id: string;
  /** For the log, as its body is. */
  readonly path: string;
  readonly body: Json;
  /** Resolves at admission. Rejects with a LorikeetError. `connection` identifies the socket for fair turns. */
  begin(signal: AbortSignal, connection: object): Promise<SocketAnswer>;
  /** The message of a fault that ends it. */
  fault(fault: PublicFault): object;
  /** How it ended, for requests that are counted even if they never began. */
  readonly ended?: Promise<RequestSummary>;
}

export interface SocketAnswer {
  readonly answer: Pick<Answer, "pause" | "resume" | "cancel" | "keepsOthersWaiting" | "ended">;
  readonly frames: AsyncIterable<Frame>;
  /** The message of a frame, a text or a binary one; null if it is not sent. */
  message(frame: Frame): object | PackedMessage | null;
}

export type SocketMessage =
  | { readonly type: "request"; readonly request: SocketRequest }
  | { readonly type: "cancel"; readonly id: string }
  /** A message that cannot be read, and the message that says so. */
  | { readonly type: "fault"; readonly fault: LorikeetError; form(fault: PublicFault): object };

export interface SocketDialect {
  /** Reads an untrusted message, a text or a binary one. */
  read(message: string | Uint8Array): SocketMessage;
}

/** A binary message, in parts that are sent one after another. */
export class PackedMessage {
  constructor(readonly parts: readonly Uint8Array[]) {}
}

export const binaryFault = (): LorikeetError =>
  new LorikeetError("invalid_value", "A message must be a text frame with JSON.");

/** Throws LorikeetError `invalid_value` for a body that asks not to stream. */
export function requireStream({ stream }: Json): void {
  if (stream === undefined || stream === null || stream === true) return;
  throw new LorikeetError("invalid_value", "`stream` must be true or absent: a WebSocket always streams.", {
    param: "stream",
  });
}
