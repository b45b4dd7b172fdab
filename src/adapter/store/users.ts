/**
 * The processes on this host that have a store open. Each locks its own file, and the kernel releases the lock when the process ends.
 * So the others see whether it is alive, even from another container, where its process id means nothing. A note next to the file says
 * how far the process has read the store and which unnamed versions it still needs. Does not decide what is deleted.
 */

import { type FileHandle, open, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { hasCode, namesIn, orMissing, textIn } from "../../base/durable.js";
import { NotRegularFile, openRegular } from "../../base/files.js";
import { isObject } from "../../base/json.js";
import type { LockMark } from "../../base/lock.js";
import { lifeOf } from "../../base/owner.js";
import type { TryLock } from "../../base/try-lock.js";

/** Suffix of files that do not have their final name yet. */
const scratchMark = "~";

export interface StoreNote {
  /** The last turn of the store's lock whose changes the process has read; null if unknown. */
  readonly seen: LockMark | null;
  /** Digests of unnamed versions that the process still needs. */
  readonly holds: ReadonlySet<string>;
}

export interface UserFolders {
  readonly users: string;
  readonly notes: string;
}

export class StoreUsers {
  readonly key: string;
  readonly #folders: UserFolders;
  readonly #tryLock: TryLock;
  /** Open and locked while this process is registered. */
  #registration: FileHandle | null = null;
  #published = "";

  constructor(folders: UserFolders, key: string, tryLock: TryLock) {
    this.#folders = folders;
    this.key = key;
    this.#tryLock = tryLock;
  }

  /** Registers this process until `leave`. Registers it again if its file was removed. One call at a time. */
  async enter(): Promise<void> {
    if (this.#registration && (await orMissing(stat(join(this.#folders.users, this.key))))) return;
    await this.#registration?.close();
    this.#registration = null;
    this.#published = "";
    this.#registration = await this.#register();
  }

  /** Publishes what this process has read and needs, both as of the same moment. */
  async publish({ seen, holds }: StoreNote): Promise<void> {
    const text = JSON.stringify({ seen, holds: [...holds] });
    if (this.#registration === null || text === this.#published) return;
    const path = join(this.#folders.notes, this.key);
    await writeFile(path + scratchMark, text);
    await rename(path + scratchMark, path); // atomic: a truncated list would release versions that are needed
    this.#published = text;
  }

  /** The notes of the other live processes. Removes the files of dead ones. */
  async others(): Promise<StoreNote[]> {
    const { users, notes } = this.#folders;
    const alive = new Set([this.key]);
    for (const file of await namesIn(users)) {
      const key = keyOf(file);
      if (key === this.key) continue;
      if (!(await this.#isAlive(key, file))) await rm(join(users, file), { force: true });
      else if (file === key) alive.add(key);
    }
    for (const file of await namesIn(notes)) {
      if (!alive.has(keyOf(file))) await rm(join(notes, file), { force: true });
    }
    alive.delete(this.key);
    return Promise.all([...alive].map(async (key) => readNote(await textIn(join(notes, key)))));
  }

  isAlive(key: string): Promise<boolean> {
    return this.#isAlive(key, key);
  }

  async leave(): Promise<void> {
    const registration = this.#registration;
    if (registration === null) return;
    this.#registration = null;
    try {
      await rm(join(this.#folders.notes, this.key), { force: true });
      await rm(join(this.#folders.users, this.key), { force: true });
    } finally {
      await registration.close();
    }
  }

  /** The file gets its name only once it is locked: an unlocked file means a dead process. */
  async #register(): Promise<FileHandle> {
    const path = join(this.#folders.users, this.key);
    for (;;) {
      const handle = await open(path + scratchMark, "w");
      try {
        const isLocked = this.#tryLock(handle.fd) !== "busy";
        if (isLocked && (await isRenamed(path + scratchMark, path))) return handle;
      } catch (cause) {
        await handle.close();
        throw cause;
      }
      await handle.close(); // another process saw the file before it was locked, and may have removed it
    }
  }

  async #isAlive(key: string, file: string): Promise<boolean> {
    const handle = await openRegular(join(this.#folders.users, file)).catch(noneIfGone);
    if (handle === null) return false;
    try {
      const state = this.#tryLock(handle.fd, "shared");
      // On a file system without locks, a process in another container counts as alive.
      return state === "unsupported" ? lifeOf(key) !== "dead" : state === "busy";
    } finally {
      await handle.close();
    }
  }
}

const keyOf = (file: string): string => file.replace(scratchMark, "");

/** A missing or unreadable note says nothing, so nothing is deleted on its account. */
function readNote(text: string | null): StoreNote {
  const nothing = { seen: null, holds: new Set<string>() };
  try {
    const note: unknown = JSON.parse(text ?? "null");
    if (!isObject(note) || !Array.isArray(note.holds) || !isMark(note.seen)) return nothing;
    return { seen: note.seen, holds: new Set(note.holds.map(String)) };
  } catch {
    return nothing;
  }
}

function isMark(value: unknown): value is LockMark {
  return isObject(value) && typeof value.folder === "string" && typeof value.number === "number";
}

/** False if the file is gone. */
async function isRenamed(from: string, to: string): Promise<boolean> {
  return (await orMissing(rename(from, to).then(() => true))) ?? false;
}

function noneIfGone(cause: unknown): null {
  if (cause instanceof NotRegularFile || hasCode(cause, "ENOENT", "ENOTDIR")) return null;
  throw cause;
}
