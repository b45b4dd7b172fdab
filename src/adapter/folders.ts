/** Finds the adapter folders that an operator has put into a directory, with a signature of each. Opens no file. */

import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { namesIn, orMissing } from "./durable.js";
import { configFile, isKeptFile, weightFiles } from "./format.js";

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

/** Every folder below `directory` that looks like an adapter, by rising name. Hidden folders are left out. */
export async function findFolders(directory: string): Promise<FolderCandidate[]> {
  const found: FolderCandidate[] = [];
  for (const name of (await namesIn(directory)).sort()) {
    if (name.startsWith(".")) continue;
    found.push(...(await lookInto(join(directory, name), name)));
    if (found.length >= maxCandidates) break;
  }
  return found.slice(0, maxCandidates);
}

async function lookInto(folder: string, name: string): Promise<FolderCandidate[]> {
  const files = await listFolder(folder);
  if (!files) return [];
  if (files.some(looksLikeAdapter)) return [await describe(folder, name, files)];
  const found: FolderCandidate[] = [];
  for (const inner of files.sort()) {
    const path = join(folder, inner);
    const innerFiles = inner.startsWith(".") ? null : await listFolder(path);
    if (innerFiles?.some(looksLikeAdapter)) found.push(await describe(path, `${name}/${inner}`, innerFiles));
  }
  return found;
}

/** Also of a pickle's folder: its refusal says how to convert it. */
function looksLikeAdapter(file: string): boolean {
  return file === configFile || weightFiles.some((name) => name === file) || /^adapter_model\./.test(file);
}

/** null for what is no folder, is gone, or may not be read. */
async function listFolder(path: string): Promise<string[] | null> {
  try {
    return (await stat(path)).isDirectory() ? await readdir(path) : null;
  } catch {
    return null;
  }
}

async function describe(folder: string, name: string, files: readonly string[]): Promise<FolderCandidate> {
  const parts: string[] = [];
  let changedAt = 0;
  for (const file of [...files].filter((each) => isKeptFile(each) || looksLikeAdapter(each)).sort()) {
    const status = await orMissing(stat(join(folder, file), { bigint: true }));
    if (!status) continue;
    parts.push(`${file}:${status.size}:${status.mtimeNs}:${status.ino}`);
    changedAt = Math.max(changedAt, Number(status.mtimeMs));
  }
  return { name, folder, signature: parts.join("|"), changedAt };
}
