/** Checks that a download fits on its disk before it begins. */

import { statfs } from "node:fs/promises";
import { isFull } from "../base/durable.js";
import { hubFault } from "./faults.js";

/** Throws `store_full`. Passes if the file system does not report its free space. */
export async function requireSpace(folder: string, bytes: number, name: string): Promise<void> {
  const status = await statfs(folder).catch(() => null);
  const free = status === null || status.blocks === 0 ? Number.POSITIVE_INFINITY : status.bavail * status.bsize;
  if (bytes <= free) return;
  const [needed, there] = [bytes, free].map((size) => `${(size / 2 ** 20).toFixed(0)} MiB`);
  throw hubFault(
    "store_full",
    `${name} needs ${needed} more on the disk of the cache, which has ${there} free: ${freeSpaceHint}.`,
    {
      found: free,
      allowed: bytes,
      operator: `(${folder})`,
    },
  );
}

const freeSpaceHint = "free some space, or set HF_HUB_CACHE to a folder on a larger disk";

/** Turns a disk-full error of the download into `store_full`. Returns other errors unchanged. */
export function fullDisk(error: unknown, folder: string, name: string): unknown {
  if (!isFull(error)) return error;
  const message = `The disk of the cache filled up while ${name} was being downloaded: ${freeSpaceHint}. The partial download is kept.`;
  return hubFault("store_full", message, { operator: `(${folder})`, cause: error });
}
