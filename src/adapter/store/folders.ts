/** Finds the adapter folders that an operator placed in a directory, with a signature of each. Opens no file. */

import { lstat, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { hasCode, namesIn, orMissing } from "../../base/durable.js";
import { configFile, isKeptFile, weightFiles } from "../format/files.js";
import { followsLinks } from "./kept-files.js";

export interface FolderCandidate {
  /** The folder's name, or `org/name` for a folder one level down. */
  readonly name: string;
  readonly folder: string;
  /** Changes when a file that matters is added, removed or written. */
  readonly signature: string;
  /** The latest change of any file, in milliseconds since 1970. */
  readonly changedAt: number;
}

const maxCandidates = 10_000;

/** A folder that cannot be read at the moment, for example for lack of file handles. */
export interface UnreadFolder extends Pick<FolderCandidate, "name" | "folder"> {
  readonly cause: unknown;
}

export interface FoundFolders {
  /** Sorted by name. */
  readonly candidates: readonly FolderCandidate[];
  readonly unread: readonly UnreadFolder[];
}

/** Every folder below `directory` that looks like an adapter, except hidden ones. */
export async function findFolders(directory: string): Promise<FoundFolders> {
  const candidates: FolderCandidate[] = [];
  const unread: UnreadFolder[] = [];
  const look = async (folder: string, name: string, visit: (files: string[]) => Promise<void>): Promise<void> => {
    if (candidates.length >= maxCandidates) return;
    try {
      const files = await listFolder(folder);
      if (files?.some(looksLikeAdapter)) candidates.push(await describe(folder, name, files));
      else if (files) await visit(files.sort());
    } catch (cause) {
      unread.push({ name, folder, cause });
    }
  };
  for (const name of (await namesIn(directory)).filter(isShown).sort()) {
    const folder = join(directory, name);
    await look(folder, name, async (inners) => {
      for (const inner of inners.filter(isShown)) await look(join(folder, inner), `${name}/${inner}`, async () => {});
    });
  }
  return { candidates, unread };
}

function isShown(name: string): boolean {
  return !name.startsWith(".");
}

/** Includes folders with a pickle: their refusal says how to convert it. */
function looksLikeAdapter(file: string): boolean {
  return file === configFile || weightFiles.some((name) => name === file) || /^adapter_model\./.test(file);
}

/** null if it is not a folder, is gone, or may not be read: an operator can withdraw an adapter by removing the permission. */
async function listFolder(path: string): Promise<string[] | null> {
  try {
    return (await stat(path)).isDirectory() ? await readdir(path) : null;
  } catch (cause) {
    if (hasCode(cause, "ENOENT", "ENOTDIR", "EACCES", "ELOOP")) return null;
    throw cause;
  }
}

async function describe(folder: string, name: string, files: readonly string[]): Promise<FolderCandidate> {
  const parts: string[] = [];
  let changedAt = 0;
  for (const file of [...files].filter((each) => isKeptFile(each) || looksLikeAdapter(each)).sort()) {
    const path = join(folder, file);
    const read = followsLinks(file) ? stat : lstat;
    const status = await orMissing(read(path, { bigint: true }));
    if (!status) continue;
    // A restored file may keep its size and modification time, but not its change time and inode.
    const { size, mtimeNs, ctimeNs, birthtimeNs, dev, ino } = status;
    parts.push([file, size, mtimeNs, ctimeNs, birthtimeNs, dev, ino].join(":"));
    changedAt = Math.max(changedAt, Number(status.mtimeMs));
  }
  return { name, folder, signature: parts.join("|"), changedAt };
}
