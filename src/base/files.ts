/**
 * Opens files that others put there: regular files alone, so that a pipe, a device or a socket never makes the caller wait. Makes
 * folders where others say.
 */

import { constants } from "node:fs";
import { type FileHandle, lstat, mkdir, open, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { LorikeetError } from "./errors.js";

export interface OpenOptions {
  /** false: a symbolic link at the end of the path is not a regular file. */
  readonly follow?: boolean;
}

/** A folder, a pipe, a socket, a device, or a link that was not to be followed. */
export class NotRegularFile extends Error {
  constructor() {
    super("not a regular file");
  }
}

/** Opens a regular file for reading. Throws the system's fault, or NotRegularFile. */
export async function openRegular(path: string, { follow = true }: OpenOptions = {}): Promise<FileHandle> {
  // Asked before it is opened, since opening a device may already do something; and again after, since it may be replaced.
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

/** The bytes of a regular file. Throws what `openRegular` throws. */
export async function readRegular(path: string, options: OpenOptions = {}): Promise<Buffer> {
  await using handle = await openRegular(path, options);
  return await handle.readFile();
}

/** The fault of a process that may not open one more file; null for any other. It says nothing about the file. */
export function handleShortage(cause: unknown): LorikeetError | null {
  const code = cause instanceof Error && "code" in cause ? cause.code : null;
  if (code !== "EMFILE" && code !== "ENFILE") return null;
  const message = "The server has no file handle free (`ulimit -n`); try again later.";
  return new LorikeetError("no_file_handles", message, { found: code, allowed: "a free file handle", cause });
}

/**
 * Makes a folder and those above it that are missing. Returns the topmost that was made; undefined where all are there. Throws
 * `invalid_value` where a folder takes none: there, as in /proc, a recursive `mkdir` of Node.js tries for ever.
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
      if (attempt > mostAttempts) throw takesNone(path, parent, cause);
    }
    topmost = (await makeFolders(parent, mode)) ?? topmost;
  }
}

/** Others may take a folder away between its making and the next. */
const mostAttempts = 3;

function takesNone(path: string, parent: string, cause: unknown): LorikeetError {
  const message = `The folder ${path} cannot be made: ${parent} takes no new folders.`;
  return new LorikeetError("invalid_value", message, { found: path, allowed: "a folder on a disk", cause });
}
