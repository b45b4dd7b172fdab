/** Whether a download fits on its disk, asked before it begins. */

import { statfs } from "node:fs/promises";
import { isFull } from "../base/durable.js";
import { hubFault } from "./faults.js";

/** Throws `store_full`. A file system that does not tell is not a reason to stop. */
export async function requireSpace(folder: string, bytes: number, name: string): Promise<void> {
  const status = await statfs(folder).catch(() => null);
  const free = status === null || status.blocks === 0 ? Number.POSITIVE_INFINITY : status.bavail * status.bsize;
  if (bytes <= free) return;
  const [needed, there] = [bytes, free].map((size) => `${(size / 2 ** 20).toFixed(0)} MiB`);
  throw hubFault(
    "store_full",
    `${name} needs ${needed} more on the disk of the cache, which has ${there} free: ${makeRoom}.`,
    {
      found: free,
      allowed: bytes,
      operator: `(${folder})`,
    },
  );
}

const makeRoom = "make room, or set HF_HUB_CACHE to a folder on a larger disk";

/** A disk that became full on the way, in the same words; any other fault as it is. */
export function fullDisk(error: unknown, folder: string, name: string): unknown {
  if (!isFull(error)) return error;
  const message = `The disk of the cache became full while ${name} was downloaded: ${makeRoom}. What has arrived is kept.`;
  return hubFault("store_full", message, { operator: `(${folder})`, cause: error });
}
