/** The hash that names a blob, updated as bytes arrive. */

import { createHash, type Hash } from "node:crypto";
import type { FileHandle } from "node:fs/promises";
import type { HubFile } from "./listing.js";

const chunkBytes = 1 << 20;

/** SHA-256 of the bytes, or git's hash of a file: SHA-1 over `blob <size>`, a zero byte and the bytes. */
export function startHash({ etag, bytes }: HubFile): Hash {
  return etag.length === 64 ? createHash("sha256") : createHash("sha1").update(`blob ${bytes}\0`);
}

/** Hashes the first bytes of a file. */
export async function feedStart(hash: Hash, handle: FileHandle, bytes: number, signal: AbortSignal): Promise<void> {
  const chunk = Buffer.allocUnsafe(chunkBytes);
  for (let at = 0; at < bytes; ) {
    signal.throwIfAborted();
    const { bytesRead } = await handle.read(chunk, 0, Math.min(chunkBytes, bytes - at), at);
    if (bytesRead === 0) throw new Error("The file shrank while it was being read.");
    hash.update(chunk.subarray(0, bytesRead));
    at += bytesRead;
  }
}
