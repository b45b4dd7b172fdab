/**
 * The processes of this host that have a store open. Each locks a file of its own, and the kernel releases that lock when the process
 * ends: so others see whether it lives, also from another container, where its process id means nothing. Beside it each notes up to
 * where it has read the store and which versions without a name it still needs. Decides nothing about what is deleted.
 */

import { type FileHandle, open, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { hasCode, namesIn, orMissing, textIn } from "../../base/durable.js";
import { NotRegularFile, openRegular } from "../../base/files.js";
import { isObject } from "../../base/json.js";
import type { LockMark } from "../../base/lock.js";
import { lifeOf } from "../../base/owner.js";
import type { TryLock } from "../../base/try-lock.js";

/** On files that are not in place yet. */
const scratchMark = "~";

export interface StoreNote {
  /** The last turn of the store's lock whose changes the process knows; null: it cannot tell. */
  readonly seen: LockMark | null;
  /** Digests without a name that the process still needs. */
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

  /** Registers this process until `leave`, again where its file was taken away. One call at a time. */
  async enter(): Promise<void> {
    if (this.#registration && (await orMissing(stat(join(this.#folders.users, this.key))))) return;
    await this.#registration?.close();
    this.#registration = null;
    this.#published = "";
    this.#registration = await this.#register();
  }

  /** Tells the others what this process knows and needs, both as of the same moment. */
  async publish({ seen, holds }: StoreNote): Promise<void> {
    const text = JSON.stringify({ seen, holds: [...holds] });
    if (this.#registration === null || text === this.#published) return;
    const path = join(this.#folders.notes, this.key);
    await writeFile(path + scratchMark, text);
    await rename(path + scratchMark, path); // whole or not at all: a list read too short would free what is needed
    this.#published = text;
  }

  /** What the other live processes noted. The files of dead ones are removed. */
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

  /** The file gets its name once it is locked: without its lock it would tell of a dead process. */
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
      await handle.close(); // another process looked at the file before it was locked, and may have removed it
    }
  }

  async #isAlive(key: string, file: string): Promise<boolean> {
    const handle = await openRegular(join(this.#folders.users, file)).catch(noneIfGone);
    if (handle === null) return false;
    try {
      const state = this.#tryLock(handle.fd, "shared");
      // Where the file system has no locks, a process of another container counts as alive.
      return state === "unsupported" ? lifeOf(key) !== "dead" : state === "busy";
    } finally {
      await handle.close();
    }
  }
}

const keyOf = (file: string): string => file.replace(scratchMark, "");

/** A note that is missing or cannot be read tells nothing, so that nothing is deleted for its sake. */
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

/** false where the file is gone. */
async function isRenamed(from: string, to: string): Promise<boolean> {
  return (await orMissing(rename(from, to).then(() => true))) ?? false;
}

function noneIfGone(cause: unknown): null {
  if (cause instanceof NotRegularFile || hasCode(cause, "ENOENT", "ENOTDIR")) return null;
  throw cause;
}
