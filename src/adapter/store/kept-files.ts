/**
 * The files of a folder that belong to an adapter: config, weights and the files kept beside them. Config and weights may be links,
 * as in a Hugging Face cache, because both are checked before the adapter can be downloaded. The other files are sent as they are, so
 * they must be in the folder itself.
 */

import type { FileHandle } from "node:fs/promises";
import { lstat, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { orMissing } from "../../base/durable.js";
import { openRegular } from "../../base/files.js";
import { configFile, isKeptFile, modelConfigFile, weightFiles } from "../format/files.js";
import { readConfigLabels } from "../format/labels.js";

/** Whether a link with this name is followed. */
export function followsLinks(name: string): boolean {
  return name === configFile || weightFiles.some((weights) => weights === name);
}

/**
 * The names of an adapter's files, sorted: only the weights file that is read, no link that is not followed, and a model's config.json
 * only if it names labels.
 */
export async function keptFiles(folder: string): Promise<string[]> {
  const names = (await readdir(folder)).filter(isKeptFile);
  const weights = weightFiles.find((name) => names.includes(name));
  const kept: string[] = [];
  for (const name of names.sort()) {
    if (name !== weights && weightFiles.some((other) => other === name)) continue;
    const path = join(folder, name);
    const status = await orMissing(followsLinks(name) ? stat(path) : lstat(path));
    if (!status?.isFile()) continue;
    if (name === modelConfigFile && (await readConfigLabels(folder)) === null) continue;
    kept.push(name);
  }
  return kept;
}

/** Opens one of these files for reading. Throws what `openRegular` throws. */
export function openKept(folder: string, name: string): Promise<FileHandle> {
  return openRegular(join(folder, name), { follow: followsLinks(name) });
}
