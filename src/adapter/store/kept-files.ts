/**
 * The files of a folder that are an adapter's own: config, weights and what is kept beside them. Config and weights may be
 * links, as a Hugging Face cache lays them out and operators make them: both are proven before anything of them is handed
 * out. What is kept beside them is handed out as it is, so it must lie in the folder itself.
 */

import type { FileHandle } from "node:fs/promises";
import { lstat, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { orMissing } from "../../base/durable.js";
import { openRegular } from "../../base/files.js";
import { configFile, isKeptFile, weightFiles } from "../format/files.js";

/** Whether a link of this name is followed. */
export function followsLinks(name: string): boolean {
  return name === configFile || weightFiles.some((weights) => weights === name);
}

/** The names of an adapter's files, sorted: of several weights only those that are read, and no link that must not be followed. */
export async function keptFiles(folder: string): Promise<string[]> {
  const names = (await readdir(folder)).filter(isKeptFile);
  const weights = weightFiles.find((name) => names.includes(name));
  const kept: string[] = [];
  for (const name of names.sort()) {
    if (name !== weights && weightFiles.some((other) => other === name)) continue;
    const path = join(folder, name);
    const status = await orMissing(followsLinks(name) ? stat(path) : lstat(path));
    if (status?.isFile()) kept.push(name);
  }
  return kept;
}

/** Opens one of them for reading. Throws what `openRegular` throws. */
export function openKept(folder: string, name: string): Promise<FileHandle> {
  return openRegular(join(folder, name), { follow: followsLinks(name) });
}
