/**
 * Reads a request's body within the limits on raw bytes: size, pace and digest. Never destroys the stream, so that a response can still
 * be sent. Knows no format.
 */

import type { Readable } from "node:stream";
import { LorikeetError } from "../../base/errors.js";
import { DigestProof } from "./content-digest.js";
import { type PaceLimits, SenderPace } from "./sender-pace.js";

/** An incoming upload: its bytes, and what its sender says about them. */
export interface UploadBody {
  readonly body: Readable;
  /** A media type with its parameters. */
  readonly contentType?: string | null;
  /** The announced number of bytes, if any. */
  readonly contentLength?: number | null;
  /** RFC 9530's field of the body. */
  readonly contentDigest?: string | null;
  /** The client, for limits per client; absent for none. */
  readonly client?: string;
}

export interface IntakeLimits extends PaceLimits {
  readonly receivedBytes: number;
}

/** The chunks of a body. Throws `too_large`, `timeout`, `cancelled`, the signal's reason, or at the end `digest_mismatch`. */
export async function* intake(
  { body, contentLength, contentDigest }: UploadBody,
  limits: IntakeLimits,
  signal: AbortSignal,
): AsyncGenerator<Buffer, void, undefined> {
  const { receivedBytes } = limits;
  const proof = new DigestProof(contentDigest, "The body");
  if ((contentLength ?? 0) > receivedBytes) throw tooLarge(contentLength ?? 0, receivedBytes);
  const pace = new SenderPace(limits);
  let received = 0;
  for (;;) {
    const chunk = await nextChunk(body, pace, signal);
    if (chunk === null) break;
    received += chunk.length;
    pace.received(chunk.length);
    if (received > receivedBytes) throw tooLarge(received, receivedBytes);
    proof.update(chunk);
    yield chunk;
  }
  proof.verify();
}

/** The next bytes, or null at the end. Removes its listeners. */
async function nextChunk(body: Readable, pace: SenderPace, signal: AbortSignal): Promise<Buffer | null> {
  let silentMs = 0;
  for (;;) {
    if (signal.aborted) throw stopped(signal.reason);
    const chunk: unknown = body.read();
    if (Buffer.isBuffer(chunk)) return chunk;
    if (body.readableEnded) return null;
    if (body.errored || body.destroyed) throw clientLeft(body.errored);
    const since = performance.now();
    await readiness(body, pace.patience(silentMs), signal);
    const waitedMs = performance.now() - since;
    silentMs = body.readableLength > 0 || body.readableEnded ? 0 : silentMs + waitedMs;
    pace.waited(waitedMs, silentMs);
  }
}

/** Waits for an event of the body, or until the time is up. */
function readiness(body: Readable, limitMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (end: () => void): void => {
      clearTimeout(timer);
      body.off("readable", ready).off("end", ready).off("close", ready).off("error", failed);
      signal.removeEventListener("abort", ready);
      end();
    };
    const ready = (): void => settle(resolve);
    const failed = (cause: Error): void => settle(() => reject(clientLeft(cause)));
    const timer = setTimeout(ready, Math.ceil(limitMs) + 1); // a timer may fire up to a millisecond early
    body.on("readable", ready).on("end", ready).on("close", ready).on("error", failed);
    signal.addEventListener("abort", ready);
  });
}

function tooLarge(found: number, allowed: number): LorikeetError {
  const message = `The upload has at least ${found} bytes; at most ${allowed} are accepted.`;
  return new LorikeetError("too_large", message, { found, allowed });
}

/** The signal's reason, or `cancelled` if it has none. */
function stopped(reason: unknown): unknown {
  if (reason instanceof Error && reason.name !== "AbortError") return reason;
  return new LorikeetError("cancelled", "The upload was cancelled before it was complete.", { cause: reason });
}

function clientLeft(cause: unknown): LorikeetError {
  return new LorikeetError("cancelled", "The client left before the upload was complete.", { cause });
}
