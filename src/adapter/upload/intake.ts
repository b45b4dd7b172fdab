/**
 * A request's body, read with every bound that applies to its bytes alone: how many, how long without one, whether they are
 * what the sender says. Never destroys the stream, so that an answer can still be sent. Knows no format.
 */

import type { Readable } from "node:stream";
import { LorikeetError } from "../../base/errors.js";
import { DigestProof } from "./content-digest.js";
import { type PaceLimits, SenderPace } from "./sender-pace.js";

/** An upload on its way in: its bytes, and what its sender says about them. */
export interface UploadBody {
  readonly body: Readable;
  /** A media type with its parameters. */
  readonly contentType?: string | null;
  /** Bytes that were announced, where they were. */
  readonly contentLength?: number | null;
  /** RFC 9530's field for the whole body. */
  readonly contentDigest?: string | null;
  /** Who sends it, as limits for each client count it; nobody in particular where it is absent. */
  readonly client?: string;
}

export interface IntakeLimits extends PaceLimits {
  readonly receivedBytes: number;
}

/** The chunks of a body. Throws `too_large`, `timeout`, `cancelled`, at the end `digest_mismatch`, or why the signal fired. */
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

/** The next bytes, or null at the end. Leaves no listener behind. */
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

/** Waits for something to happen to the body, or for the time to pass. */
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
    const timer = setTimeout(ready, Math.ceil(limitMs) + 1); // a timer may be early by a part of a millisecond
    body.on("readable", ready).on("end", ready).on("close", ready).on("error", failed);
    signal.addEventListener("abort", ready);
  });
}

export function tooLarge(found: number, allowed: number): LorikeetError {
  const message = `The upload is at least ${found} bytes; at most ${allowed} are received.`;
  return new LorikeetError("too_large", message, { found, allowed });
}

/** Why it was stopped, or `cancelled` where no reason was given. */
function stopped(reason: unknown): unknown {
  if (reason instanceof Error && reason.name !== "AbortError") return reason;
  return new LorikeetError("cancelled", "The upload was cancelled before it was complete.", { cause: reason });
}

function clientLeft(cause: unknown): LorikeetError {
  return new LorikeetError("cancelled", "The client left before the upload was complete.", { cause });
}
