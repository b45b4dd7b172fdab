/**
 * Opens untrusted paths: regular files only, so that a pipe, a device or a socket never blocks the caller. Creates folders at
 * untrusted paths.
 */

import { constants } from "node:fs";
import { type FileHandle, lstat, mkdir, open, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { LorikeetError } from "./errors.js";

export interface OpenOptions {
  /** false refuses a symbolic link at the end of the path. Default true. */
  readonly follow?: boolean;
}

/** The path is a folder, a pipe, a socket, a device, or a link that must not be followed. */
export class NotRegularFile extends Error {
  constructor() {
    super("not a regular file");
  }
}

/** Whether a path leads to a folder, also by a link. false where it cannot be seen. */
export const isFolder = async (path: string): Promise<boolean> =>
  (await stat(path).catch(() => null))?.isDirectory() === true;

/** Opens a regular file for reading. Throws NotRegularFile or the system's error. */
export async function openRegular(path: string, { follow = true }: OpenOptions = {}): Promise<FileHandle> {
  // Checked before opening, since opening a device can have effects, and after, since the path may have been replaced.
  if (!(await (follow ? stat(path) : lstat(path))).isFile()) throw new NotRegularFile();
  const { O_RDONLY, O_NONBLOCK = 0, O_NOFOLLOW = 0 } = constants;
  const handle = await open(path, O_RDONLY | O_NONBLOCK | (follow ? 0 : O_NOFOLLOW));
  try {
    if ((await handle.stat()).isFile()) return handle;
    throw new NotRegularFile();
  } catch (cause) {
    await handle.close();
    throw cause;
  }
}

/** The bytes of a regular file. Throws as `openRegular` does. */
export async function readRegular(path: string, options: OpenOptions = {}): Promise<Buffer> {
  await using handle = await openRegular(path, options);
  return await handle.readFile();
}

/** A `no_file_handles` error if the process has run out of file handles; else null. Says nothing about the file itself. */
export function handleShortage(cause: unknown): LorikeetError | null {
  const code = cause instanceof Error && "code" in cause ? cause.code : null;
  if (code !== "EMFILE" && code !== "ENFILE") return null;
  const message = "The server is out of file handles (`ulimit -n`); try again later.";
  return new LorikeetError("no_file_handles", message, { found: code, allowed: "a free file handle", cause });
}

/**
 * Creates a folder and its missing parents. Returns the topmost folder created, or undefined if all existed. Throws
 * `invalid_value` where a parent accepts no new folders: there, as in /proc, a recursive `mkdir` of Node.js never returns.
 */
export async function makeFolders(path: string, mode?: number): Promise<string | undefined> {
  const parent = dirname(path);
  let topmost: string | undefined;
  for (let attempt = 1; ; attempt++) {
    try {
      await mkdir(path, { mode });
      return topmost ?? path;
    } catch (cause) {
      const code = cause instanceof Error && "code" in cause ? cause.code : null;
      if (code === "EEXIST" && (await stat(path)).isDirectory()) return topmost;
      if (code !== "ENOENT" || parent === path) throw cause;
      if (attempt > maxAttempts) throw takesNone(path, parent, cause);
    }
    topmost = (await makeFolders(parent, mode)) ?? topmost;
  }
}

/** Other processes may remove a folder between two steps. */
const maxAttempts = 3;

function takesNone(path: string, parent: string, cause: unknown): LorikeetError {
  const message = `The folder ${path} cannot be created: ${parent} accepts no new folders.`;
  return new LorikeetError("invalid_value", message, { found: path, allowed: "a folder on a disk", cause });
}
