/**
 * A version's identity: SHA-256 over the bytes of every kept file. What an adapter computes has a separate digest, so versions that
 * differ only in their README share memory.
 */

import { createHash } from "node:crypto";
import { readdir } from "node:fs/promises";
import { isKeptFile } from "../format/files.js";
import type { AdapterSummary } from "../types.js";
import { keptFiles, openKept } from "./kept-files.js";

const chunkBytes = 2 ** 20;

/** `sha256:` and 64 hex digits, over the name, the size and the bytes of each kept file of a folder. */
export async function versionDigest(folder: string): Promise<string> {
  const hash = createHash("sha256").update("lorikeet version 2\n");
  const chunk = Buffer.allocUnsafe(chunkBytes);
  for (const name of await keptFiles(folder)) {
    await using handle = await openKept(folder, name);
    const { size } = await handle.stat();
    hash.update(`${JSON.stringify([name, size])}\n`);
    for (let position = 0; position < size; ) {
      const { bytesRead } = await handle.read(chunk, 0, Math.min(chunkBytes, size - position), position);
      if (bytesRead === 0) break; // the file has shrunk: the digest covers its size
      hash.update(chunk.subarray(0, bytesRead));
      position += bytesRead;
    }
  }
  return `sha256:${hash.digest("hex")}`;
}

/** Whether a checked folder is the version with this digest. Versions from before version digests have the digest of their weights. */
export function isVersion(summary: AdapterSummary, digest: string): boolean {
  return summary.digest === digest || summary.weightsDigest === digest;
}

/** Adds the version's digest, and the files that are not kept, to the summary of a folder's weights. */
export async function asVersion(
  folder: string,
  { digest: weightsDigest, ...summary }: Omit<AdapterSummary, "weightsDigest">,
): Promise<AdapterSummary> {
  const kept = await keptFiles(folder);
  const links = (await readdir(folder)).filter((name) => isKeptFile(name) && !kept.includes(name));
  const ignored = [...new Set([...summary.ignored, ...links])].sort();
  return { ...summary, digest: await versionDigest(folder), weightsDigest, ignored };
}
