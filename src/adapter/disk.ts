/**
 * The store's folder as a whole: its layout, its lock, who uses it, and which versions may be deleted. Knows versions and
 * names as data; what may be stored under which name is decided elsewhere.
 */

import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { orMissing } from "./durable.js";
import { FolderLock } from "./lock.js";
import { NameIndex } from "./name-index.js";
import { ownerKey } from "./owner.js";
import { Staging } from "./staging.js";
import { StoreUsers } from "./users.js";
import { Versions } from "./versions.js";

const graceMs = 15_000; // longer than any other process needs to see that a name is gone and to say what it holds

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
  readonly #orphanedAt = new Map<string, number>();
  #opened = false;

  constructor(directory: string, lockWaitMs: number) {
    this.root = join(directory, ".store");
    const key = ownerKey();
    this.versions = new Versions(this.root);
    this.names = new NameIndex(join(this.root, "names"));
    this.staging = new Staging(join(this.root, "tmp"), key);
    this.users = new StoreUsers(join(this.root, "users"), key);
    const isAlive = (other: string) => this.users.isAlive(other);
    this.lock = new FolderLock({ folder: join(this.root, "locks"), key, isAlive, waitMs: lockWaitMs });
  }

  /** Makes the folders and registers this process. A directory without a store gets one at the first write only. */
  async enter(): Promise<void> {
    if (this.#opened) return;
    for (const name of ["names", "tmp", "locks", "users"]) await mkdir(join(this.root, name), { recursive: true });
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

  /**
   * Deletes the versions that nobody needs: no name points at them, nothing here holds them, and every other process has had
   * the time to say that it does. Returns what was deleted and which versions without a name are left. Call it under the lock.
   */
  async collect(isHeld: (digest: string) => boolean): Promise<Collected> {
    await this.names.refresh({ force: true });
    if (this.names.damaged().length > 0) return { deleted: [], orphans: new Set() }; // one may point at any version
    const named = new Set(this.names.entries().map((entry) => entry.digest));
    const stored = [...(await this.versions.list()).keys()];
    const orphans = new Set(stored.filter((digest) => !named.has(digest)));
    for (const digest of this.#orphanedAt.keys()) if (!orphans.has(digest)) this.#orphanedAt.delete(digest);
    const others = await this.users.others();
    const deleted: string[] = [];
    for (const digest of orphans) {
      if (isHeld(digest) || others.some((other) => other.holds.has(digest))) continue;
      if (others.length > 0 && this.#orphanedFor(digest) < graceMs) continue;
      await this.versions.remove(digest, this.staging.fresh());
      deleted.push(digest);
      orphans.delete(digest);
    }
    return { deleted, orphans };
  }

  /** Milliseconds since the version was first seen without a name. */
  #orphanedFor(digest: string): number {
    const now = performance.now();
    const since = this.#orphanedAt.get(digest) ?? now;
    this.#orphanedAt.set(digest, since);
    return now - since;
  }

  async leave(): Promise<void> {
    if (!this.#opened) return;
    this.#opened = false;
    await orMissing(this.users.leave());
  }
}
