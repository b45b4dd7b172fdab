/**
 * The store's folder as a whole: its layout, its lock, who uses it, what has changed in it, and which versions may be deleted.
 * Knows versions and names as data; what may be stored under which name is decided elsewhere.
 */

import { mkdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { hasCode, orMissing } from "../../base/durable.js";
import { FolderLock, type LockMark, type LockTurn } from "../../base/lock.js";
import { ownerKey } from "../../base/owner.js";
import type { TryLock } from "../../base/try-lock.js";
import { type NameChange, type NameEntry, NameIndex, nameFile } from "./name-index.js";
import { Staging } from "./staging.js";
import { StoreUsers } from "./users.js";
import { type PreparedVersion, Versions } from "./versions.js";

export interface Collected {
  readonly deleted: readonly string[];
  readonly orphans: ReadonlySet<string>;
}

export class StoreDisk {
  readonly root: string;
  readonly versions: Versions;
  readonly names: NameIndex;
  readonly staging: Staging;
  readonly lock: FolderLock;
  readonly users: StoreUsers;
  /** The turn in which a version was first seen without a name, by its digest. */
  readonly #orphanedAt = new Map<string, LockMark>();
  /** Stored versions that no name points at. */
  readonly #nameless = new Set<string>();
  /** By a damaged file of which nothing can be read: the versions that had no name when it was first seen, one of which may be its own. */
  readonly #spared = new Map<string, ReadonlySet<string>>();
  #mark: LockMark | null = null;
  #stamp: string | null = null;
  #opened = false;
  #entering: Promise<void> | null = null;

  constructor(directory: string, { lockWaitMs, tryLock }: { readonly lockWaitMs: number; readonly tryLock: TryLock }) {
    this.root = join(directory, ".store");
    const key = ownerKey();
    this.versions = new Versions(this.root);
    this.names = new NameIndex(join(this.root, "names"));
    this.staging = new Staging(join(this.root, "tmp"), key);
    const folders = { users: join(this.root, "users"), notes: join(this.root, "notes") };
    this.users = new StoreUsers(folders, key, tryLock);
    const isAlive = (other: string) => this.users.isAlive(other);
    this.lock = new FolderLock({ folder: join(this.root, "locks"), key, isAlive, waitMs: lockWaitMs });
  }

  /**
   * Makes the folders and registers this process, also where they have been taken away since. A directory without a store gets
   * one at the first write only.
   */
  enter(): Promise<void> {
    this.#entering ??= this.#enter().finally(() => {
      this.#entering = null;
    });
    return this.#entering;
  }

  async #enter(): Promise<void> {
    // One by one: made all at once, a missing permission is told as a missing folder.
    for (const name of ["", "names", "tmp", "locks", "users", "notes"]) {
      await mkdir(join(this.root, name)).catch((cause: unknown) => {
        if (!hasCode(cause, "EEXIST")) throw cause;
      });
    }
    await this.users.enter();
    this.#opened = true;
  }

  /** Removes what dead processes left: scratch folders and registrations. */
  async sweep(): Promise<void> {
    await this.staging.sweep((key) => this.users.isAlive(key));
    await this.users.others();
  }

  get entered(): boolean {
    return this.#opened;
  }

  /** Up to where changes were read; null: not everything was. */
  get mark(): LockMark | null {
    return this.#mark;
  }

  /** Reads what has changed since the last call: what the lock's turns tell of, or everything where they do not explain it. One call at a time. */
  async refresh(turn: LockTurn | null): Promise<NameChange[]> {
    const { mark, changes, isBusy } = await this.lock.historySince(this.#mark, turn?.number);
    const stamp = await this.#stampOf();
    const isUnexplained = changes?.size === 0 && !isBusy && stamp !== this.#stamp;
    this.#mark = null;
    const changed = await this.#read(isUnexplained ? null : changes);
    this.#mark = mark;
    if (!isBusy || changes === null) this.#stamp = stamp;
    return changed;
  }

  /** Reads what this process has changed in a turn that it still holds. One call at a time, with `refresh`. */
  async refreshOwn(turn: LockTurn): Promise<NameChange[]> {
    this.#mark = null;
    const changed = await this.#read(turn.changes);
    this.#mark = await this.lock.markOf(turn);
    this.#stamp = await this.#stampOf();
    return changed;
  }

  /** Points a name at a digest. Call it under the lock. */
  async point(turn: LockTurn, entry: NameEntry): Promise<void> {
    turn.changes.add(`name ${nameFile(entry.name)}`);
    await this.names.write(entry, this.staging.fresh());
  }

  /** Takes a name away. Call it under the lock. */
  async unname(turn: LockTurn, name: string): Promise<void> {
    turn.changes.add(`name ${nameFile(name)}`);
    await this.names.remove(name);
  }

  /** Gives a prepared version its folder, in the place of a damaged one where there is one. Call it under the lock. */
  async commit(turn: LockTurn, digest: string, prepared: PreparedVersion): Promise<void> {
    turn.changes.add(`version ${digest}`);
    if (await this.versions.has(digest)) await this.versions.remove(digest, this.staging.fresh());
    await this.versions.commit(digest, prepared);
  }

  /**
   * Deletes the versions that nobody needs: no name points at them, nothing here holds them, and every other process knows
   * that their names are gone and does not hold them either. Returns what was deleted and which versions without a name are left. Call it under the lock,
   * after `refresh`.
   */
  async collect(turn: LockTurn, isHeld: (digest: string) => boolean): Promise<Collected> {
    const orphans = new Set(this.#nameless);
    for (const digest of this.#orphanedAt.keys()) if (!orphans.has(digest)) this.#orphanedAt.delete(digest);
    const suspects = this.#suspects();
    if (orphans.size === 0) return { deleted: [], orphans };
    const now = await this.lock.markOf(turn);
    const others = await this.users.others();
    const deleted: string[] = [];
    for (const digest of orphans) {
      const since = this.#orphanedSince(digest, now);
      if (isHeld(digest) || suspects.has(digest)) continue;
      if (others.some(({ seen, holds }) => holds.has(digest) || !hasSeen(seen, since))) continue;
      turn.changes.add(`version ${digest}`);
      await this.versions.remove(digest, this.staging.fresh());
      deleted.push(digest);
      orphans.delete(digest);
    }
    return { deleted, orphans };
  }

  async leave(): Promise<void> {
    if (!this.#opened) return;
    this.#opened = false;
    await orMissing(this.users.leave());
  }

  /** null reads everything. */
  async #read(changes: ReadonlySet<string> | null): Promise<NameChange[]> {
    const of = (kind: string): string[] | null =>
      changes && [...changes].filter((line) => line.startsWith(`${kind} `)).map((line) => line.slice(kind.length + 1));
    const names = await this.names.refresh(of("name"));
    const versions = await this.versions.refresh(of("version"));
    const touched = names.flatMap(({ before, now }) => [before?.digest, now?.digest]);
    for (const digest of [...touched, ...versions]) {
      if (digest === undefined) continue;
      if (this.versions.sizes.has(digest) && !this.names.isPointedAt(digest)) this.#nameless.add(digest);
      else this.#nameless.delete(digest);
    }
    return names;
  }

  /** Changes with what is in the folders of names and versions, to the grain of their times. */
  async #stampOf(): Promise<string> {
    const folders = await Promise.all(
      [this.root, this.names.folder].map((folder) => orMissing(stat(folder, { bigint: true }))),
    );
    return folders.map((status) => (status ? `${status.dev}:${status.ino}:${status.mtimeNs}` : "")).join(" ");
  }

  /** The versions that damaged files of the index may stand for. */
  #suspects(): Set<string> {
    const damaged = this.names.damaged();
    for (const file of this.#spared.keys()) if (!damaged.has(file)) this.#spared.delete(file);
    const suspects = new Set<string>();
    for (const [file, digests] of damaged) {
      const spared = this.#spared.get(file) ?? new Set(digests.length > 0 ? digests : this.#nameless);
      this.#spared.set(file, spared);
      for (const digest of spared) suspects.add(digest);
    }
    return suspects;
  }

  /** The turn in which a version was first seen without a name; null where the present turn will not be remembered. */
  #orphanedSince(digest: string, now: LockMark | null): LockMark | null {
    const known = this.#orphanedAt.get(digest);
    if (known && known.folder === now?.folder) return known;
    if (now) this.#orphanedAt.set(digest, now);
    return now;
  }
}

/** Whether a process that has read the store up to here knows of a turn. */
function hasSeen(seen: LockMark | null, turn: LockMark | null): boolean {
  return seen !== null && turn !== null && seen.folder === turn.folder && seen.number >= turn.number;
}
