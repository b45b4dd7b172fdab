/**
 * The store's folder: its layout, its lock, its users, its changes, and which versions may be deleted. Handles versions and names as
 * data, and does not decide which adapter gets which name.
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
  /** The turn in which each version, by digest, was first seen without a name. */
  readonly #orphanedAt = new Map<string, LockMark>();
  /** Stored versions that no name points at. */
  readonly #nameless = new Set<string>();
  /** For each unreadable file of the index: the versions that had no name when it was first seen. One of them may be its version. */
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
   * Creates the folders and registers this process, again if they were removed. A directory without a store gets one only with the
   * first write.
   */
  enter(): Promise<void> {
    this.#entering ??= this.#enter().finally(() => {
      this.#entering = null;
    });
    return this.#entering;
  }

  async #enter(): Promise<void> {
    // One at a time: a recursive mkdir reports a missing permission as a missing folder.
    for (const name of ["", "names", "tmp", "locks", "users", "notes"]) {
      await mkdir(join(this.root, name)).catch((cause: unknown) => {
        if (!hasCode(cause, "EEXIST")) throw cause;
      });
    }
    await this.users.enter();
    this.#opened = true;
  }

  /** Removes the scratch folders and registrations of dead processes. */
  async sweep(): Promise<void> {
    await this.staging.sweep((key) => this.users.isAlive(key));
    await this.users.others();
  }

  get entered(): boolean {
    return this.#opened;
  }

  /** The last turn whose changes were read; null if some were not. */
  get mark(): LockMark | null {
    return this.#mark;
  }

  /** Reads what has changed since the last call: what the lock's turns list, or everything if they do not explain it. One call at a time. */
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

  /** Reads the changes of this process in a turn that it still holds. Not while `refresh` runs. */
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

  /** Removes a name. Call it under the lock. */
  async unname(turn: LockTurn, name: string): Promise<void> {
    turn.changes.add(`name ${nameFile(name)}`);
    await this.names.remove(name);
  }

  /** Moves a prepared version into its folder, and replaces a damaged one. Call it under the lock. */
  async commit(turn: LockTurn, digest: string, prepared: PreparedVersion): Promise<void> {
    turn.changes.add(`version ${digest}`);
    if (await this.versions.has(digest)) await this.versions.remove(digest, this.staging.fresh());
    await this.versions.commit(digest, prepared);
  }

  /**
   * Deletes unused versions: no name points at them, this process does not hold them, and every other process has seen that their
   * names are gone and does not hold them either. Returns the deleted versions and the unnamed ones that remain. Call it under the
   * lock, after `refresh`.
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

  /** Reads the listed changes; null reads everything. */
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

  /** Changes with the contents of the folders of names and versions, as precisely as their timestamps do. */
  async #stampOf(): Promise<string> {
    const folders = await Promise.all(
      [this.root, this.names.folder].map((folder) => orMissing(stat(folder, { bigint: true }))),
    );
    return folders.map((status) => (status ? `${status.dev}:${status.ino}:${status.mtimeNs}` : "")).join(" ");
  }

  /** The versions that damaged files of the index may refer to. */
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

  /** The turn in which a version was first seen without a name; null if the current turn is not recorded. */
  #orphanedSince(digest: string, now: LockMark | null): LockMark | null {
    const known = this.#orphanedAt.get(digest);
    if (known && known.folder === now?.folder) return known;
    if (now) this.#orphanedAt.set(digest, now);
    return now;
  }
}

/** Whether a process that has read the store up to `seen` knows a turn's changes. */
function hasSeen(seen: LockMark | null, turn: LockMark | null): boolean {
  return seen !== null && turn !== null && seen.folder === turn.folder && seen.number >= turn.number;
}
