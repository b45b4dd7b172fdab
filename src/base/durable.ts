/** Writes that survive a crash: fsync of files and folders, and replacement by rename. */

import { open, readdir, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { LorikeetError } from "./errors.js";
import { handleShortage, readRegular } from "./files.js";

/** Whether a file system error has one of these codes, such as ENOENT. */
export function hasCode(cause: unknown, ...codes: readonly string[]): boolean {
  return cause instanceof Error && "code" in cause && typeof cause.code === "string" && codes.includes(cause.code);
}

/** Whether an error says that a disk or a quota is full. */
export function isFull(cause: unknown): boolean {
  return hasCode(cause, "ENOSPC", "EDQUOT");
}

/** The result, or null if the path does not exist. */
export async function orMissing<T>(work: Promise<T>): Promise<T | null> {
  try {
    return await work;
  } catch (cause) {
    if (hasCode(cause, "ENOENT", "ENOTDIR")) return null;
    throw cause;
  }
}

/** The text of a regular file, or null if it does not exist. */
export async function textIn(path: string): Promise<string | null> {
  return (await orMissing(readRegular(path)))?.toString("utf8") ?? null;
}

/** The names in a folder; none if the folder does not exist. */
export async function namesIn(folder: string): Promise<string[]> {
  return (await orMissing(readdir(folder))) ?? [];
}

/** Flushes a file or a folder to the disk. */
export async function sync(path: string): Promise<void> {
  const handle = await open(path, "r").catch((cause: unknown) => {
    // Windows cannot open a folder; there a rename is durable by itself.
    if (process.platform === "win32" && hasCode(cause, "EISDIR", "EPERM", "EACCES")) return null;
    throw cause;
  });
  if (!handle) return;
  try {
    await handle.sync();
  } catch (cause) {
    if (!hasCode(cause, "EINVAL", "EPERM", "ENOTSUP")) throw cause; // a file system without fsync for folders
  } finally {
    await handle.close();
  }
}

/** Renames, and flushes the folder that holds the new name. */
export async function renameDurably(from: string, to: string): Promise<void> {
  await rename(from, to);
  await sync(dirname(to));
}

/** Replaces a file atomically: a reader sees the old text or the new one, even after a crash. */
export async function replaceFile(path: string, text: string, scratch: string): Promise<void> {
  try {
    await writeFile(scratch, text, { flush: true });
    await renameDurably(scratch, path);
  } catch (cause) {
    await rm(scratch, { force: true });
    throw cause;
  }
}

/** Flushes every file of a flat folder, then the folder. */
export async function syncTree(folder: string): Promise<void> {
  for (const name of await readdir(folder)) await sync(join(folder, name));
  await sync(folder);
}

/** Removes a file or folder, if it exists. */
export async function removeTree(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true, maxRetries: 2 });
}

/** Turns a disk's error into a LorikeetError where one fits: `store_full`, `conflict` for a read-only folder, or `no_file_handles`. */
export function storageFault(cause: unknown, folder: string, what = "adapters folder"): unknown {
  if (isFull(cause)) {
    return new LorikeetError("store_full", `The disk of the ${what} is full.`, {
      operator: `The ${what} is ${folder}.`,
      found: "no space left",
      allowed: "enough free space",
      cause,
    });
  }
  if (hasCode(cause, "EROFS", "EACCES", "EPERM")) {
    return new LorikeetError("conflict", `This process cannot write to the ${what}.`, {
      operator: `The ${what} is ${folder}.`,
      found: "a folder without write permission",
      allowed: "a writable folder",
      cause,
    });
  }
  return handleShortage(cause) ?? cause;
}
