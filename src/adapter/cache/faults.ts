/** The errors of the host cache. */

import { LorikeetError } from "../../base/errors.js";

export function digestUnknown(digest: string): LorikeetError {
  const message = `No adapter with the digest ${digest} is known.`;
  return new LorikeetError("adapter_not_found", message, { found: digest, allowed: "a stored digest" });
}

/** `room`: of `maxBytes`, what pinned adapters leave. */
export function neverFits(bytes: number, room: number, maxBytes: number): LorikeetError {
  const pinned = room < maxBytes ? `, of which pinned adapters leave ${room}` : "";
  return new LorikeetError(
    "adapter_too_large",
    `The adapter takes ${bytes} bytes of host memory; the adapter cache holds ${maxBytes}${pinned}.`,
    { found: bytes, allowed: room },
  );
}

export function pinLeavesTooLittle(bytes: number, room: number, largest: number): LorikeetError {
  return new LorikeetError(
    "conflict",
    `Pinning the adapter's ${bytes} bytes would leave ${Math.max(0, room)} bytes of the adapter cache; the largest adapter needs ${largest}.`,
    { param: "pinned", found: room, allowed: largest },
  );
}
