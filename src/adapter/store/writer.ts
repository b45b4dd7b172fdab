/**
 * Changes what the store holds: stages folders, stores them as versions, points names at them and removes names. Changes are
 * atomic: the bytes are flushed first, then the change is made under the lock. Damaged files are replaced by an upload of the same
 * adapter.
 */

import { removeTree, storageFault } from "../../base/durable.js";
import { assert } from "../../base/errors.js";
import type { LockTurn } from "../../base/lock.js";
import type { Logger } from "../../base/log.js";
import { checkName, nameKey } from "../names.js";
import type { AdapterRecord, AdapterSummary } from "../types.js";
import type { CheckedFolder, StoreBase } from "./check.js";
import type { Collector } from "./collector.js";
import type { StoreDisk } from "./disk.js";
import {
  checkCount,
  checkRoom,
  isDamage,
  nameExists,
  nameMissing,
  nameTaken,
  nothingStored,
  ownedByBase,
  ownedByOperator,
} from "./faults.js";
import { RunningTasks } from "./running-tasks.js";
import type { FolderScan } from "./scan.js";
import type { ServedNames } from "./served-names.js";
import type { StoredAdapters } from "./stored.js";
import type { PutOptions, PutResult, StoreLimits, StoreOptions } from "./types.js";
import type { PreparedVersion } from "./versions.js";

export interface WriterParts {
  readonly options: StoreOptions;
  readonly limits: StoreLimits;
  readonly disk: StoreDisk;
  readonly stored: StoredAdapters;
  readonly scan: FolderScan;
  readonly names: ServedNames;
  readonly collector: Collector;
  readonly logger: Logger;
}

export class StoreWriter {
  readonly #options: StoreOptions;
  readonly #limits: StoreLimits;
  readonly #disk: StoreDisk;
  readonly #stored: StoredAdapters;
  readonly #scan: FolderScan;
  readonly #names: ServedNames;
  readonly #collector: Collector;
  readonly #logger: Logger;
  readonly #running = new RunningTasks();

  constructor({ options, limits, disk, stored, scan, names, collector, logger }: WriterParts) {
    this.#options = options;
    this.#limits = limits;
    this.#disk = disk;
    this.#stored = stored;
    this.#scan = scan;
    this.#names = names;
    this.#collector = collector;
    this.#logger = logger;
  }

  /** As the store's `stage`. */
  stage(): Promise<string> {
    return this.#running.run(() => this.#writing(() => this.#disk.staging.make()));
  }

  /** As the store's `stageCopy`. */
  stageCopy(source: string, options: { readonly within?: string } = {}): Promise<string> {
    const bounds = { ...options, maxBytes: this.#limits.totalBytes };
    return this.#running.run(() => this.#writing(() => this.#disk.staging.copy(source, bounds)));
  }

  /** As the store's `put`. */
  async put(name: string, staged: string, options: PutOptions = {}): Promise<PutResult> {
    assert(this.#disk.staging.owns(staged), `${staged} was staged by this store`);
    try {
      return await this.#running.run(() => this.#checkAndStore(name, staged, options));
    } finally {
      await removeTree(staged); // even if the name was refused
    }
  }

  /** As the store's `remove`. */
  async remove(name: string): Promise<Pick<AdapterRecord, "name" | "digest">> {
    if (this.#options.directory === null) {
      this.#refuseFolder(name);
      throw nameMissing(name);
    }
    return await this.#running.run(() => this.#change((turn) => this.#unname(name, turn)));
  }

  /** Refuses new changes, and waits for the running ones. */
  close(): Promise<void> {
    return this.#running.close();
  }

  async #checkAndStore(name: string, staged: string, options: PutOptions): Promise<PutResult> {
    try {
      checkName(name, this.#options.reserved);
      const { base: asked = null, client } = options;
      const checked = await this.#options.check(staged, { base: asked, ...(client !== undefined && { client }) });
      const base = this.#baseOf(checked);
      this.#options.admit?.(checked.summary, base.name);
      return await this.#writing(() => this.#store(name, staged, { ...checked, base }, options));
    } finally {
      await removeTree(staged);
    }
  }

  async #unname(name: string, turn: LockTurn): Promise<Pick<AdapterRecord, "name" | "digest">> {
    this.#refuseFolder(name);
    const entry = this.#stored.entry(nameKey(name));
    if (entry?.name !== name) throw nameMissing(name);
    await this.#disk.unname(turn, name);
    return { name, digest: entry.digest };
  }

  #baseOf({ base }: CheckedFolder): StoreBase {
    const { bases } = this.#options;
    return bases.find(({ name }) => name === base) ?? bases[0];
  }

  async #store(name: string, staged: string, checked: Checked, options: PutOptions): Promise<PutResult> {
    const stored = await this.#findStored(checked);
    const prepared = await this.#prepare(staged, checked);
    try {
      return await this.#change((turn) => this.#point(name, checked, { turn, prepared, stored }, options));
    } finally {
      await removeTree(prepared.folder);
    }
  }

  /** The slow part of a put, the flushing of its bytes, before the lock is taken. */
  async #prepare(staged: string, { summary, base: { checkKey } }: Checked): Promise<PreparedVersion> {
    const draft = await this.#disk.staging.make();
    try {
      return await this.#disk.versions.prepare(staged, draft, { checkKey, summary });
    } catch (cause) {
      await removeTree(draft);
      throw cause;
    }
  }

  /**
   * The stored version that equals this one, read and compared first. A version from before version digests counts if its files
   * are the same, byte for byte.
   */
  async #findStored({ summary: { digest, weightsDigest }, base }: Checked): Promise<StoredVersion[]> {
    const found: StoredVersion[] = [];
    for (const place of new Set([digest, weightsDigest])) {
      const identity = await this.#disk.versions.identity(place);
      if (identity === null) continue;
      const summary = await this.#checkStored(place, base);
      found.push({ digest: place, identity, isSound: summary?.digest === digest });
    }
    return found;
  }

  /** null if the files are damaged. */
  async #checkStored(digest: string, base: StoreBase): Promise<AdapterSummary | null> {
    try {
      return (await this.#options.check(this.#disk.versions.folder(digest), { base: base.name })).summary;
    } catch (cause) {
      if (isDamage(cause)) return null;
      throw cause;
    }
  }

  /** Under the lock: moves the version into its folder, then points the name at it. */
  async #point(
    name: string,
    { summary, base }: Checked,
    arrived: Arrived,
    { ifNoneMatch, base: asked = null, job }: PutOptions,
  ): Promise<PutResult> {
    this.#refuseFolder(name);
    const key = nameKey(name);
    const current = this.#stored.entry(key);
    if (current && current.name !== name) throw nameTaken(name, current.name);
    if (current && ifNoneMatch === "*") throw nameExists(name);
    if (!current) checkCount(this.#stored.size, this.#limits.maxNames);
    const { digest, isNew } = await this.#settle(summary.digest, arrived);
    const record = (createdAt: number): AdapterRecord => ({
      ...{ ...summary, digest, name, base: base.name },
      ...{ source: "store", createdAt },
      ...(job !== undefined && { job }),
    });
    const known = this.#stored.record(key);
    const isKept = asked !== null || this.#options.bases.length > 1;
    const remembered = isKept ? base.name : known?.base === base.name ? current?.base : null;
    const isSame = current?.digest === digest && !isNew && (known?.base ?? base.name) === base.name;
    if (isSame && (current.base ?? null) === (remembered ?? null) && current.job === job)
      return { record: record(current.createdAt), outcome: "identical" };
    const createdAt = isSame ? current.createdAt : Date.now();
    const previous = (current ? [current.digest, ...current.previous] : []).filter((other) => other !== digest);
    const entry = {
      name,
      digest,
      createdAt,
      previous: [...new Set(previous)].slice(0, 8),
      ...(remembered && { base: remembered }),
      ...(job !== undefined && { job }),
    };
    await this.#disk.point(arrived.turn, entry);
    return { record: record(createdAt), outcome: isSame ? "identical" : current ? "replaced" : "created" };
  }

  /** Under the lock: stores the version's files unless an intact copy exists, and returns the digest that has them. */
  async #settle(
    digest: string,
    { turn, prepared, stored }: Arrived,
  ): Promise<{ readonly digest: string; readonly isNew: boolean }> {
    const { versions } = this.#disk;
    for (const version of stored) {
      const isThere = (await versions.identity(version.digest)) === version.identity;
      if (isThere && version.isSound) return { digest: version.digest, isNew: false };
    }
    const now = await versions.identity(digest);
    const isDamaged = now !== null && stored.some((version) => version.digest === digest && version.identity === now);
    if (now !== null && !isDamaged) return { digest, isNew: false }; // another process has stored it meanwhile
    if (!isDamaged) checkRoom(versions.bytes, prepared.bytes, this.#limits.totalBytes);
    await this.#disk.commit(turn, digest, prepared);
    if (isDamaged) {
      this.#logger.warn({ digest }, "An upload of the same adapter replaced its damaged files.");
      this.#stored.recheck(digest);
    }
    return { digest, isNew: true };
  }

  /** Runs a change under the lock, on a current view, and makes it visible. */
  #change<T>(task: (turn: LockTurn) => Promise<T>): Promise<T> {
    return this.#writing(() =>
      this.#disk.lock.run(async (turn) => {
        await this.#names.refresh(turn);
        try {
          return await task(turn);
        } finally {
          await this.#names.refreshOwn(turn);
          await this.#collector.collect(turn);
        }
      }),
    );
  }

  async #writing<T>(task: () => Promise<T>): Promise<T> {
    const { directory } = this.#options;
    if (directory === null) throw nothingStored();
    try {
      await this.#disk.enter();
      return await task();
    } catch (cause) {
      throw storageFault(cause, directory);
    }
  }

  #refuseFolder(name: string): void {
    const folder = this.#scan.taken.get(nameKey(name));
    if (!folder || this.#stored.has(nameKey(name))) return;
    const { name: own, base, source } = folder.record;
    const { directory } = this.#options;
    if (directory !== null && source === "folder") throw ownedByOperator(own, directory);
    throw ownedByBase(own, base, folder.folder);
  }
}

/** An adapter that has passed its check, and its base. */
interface Checked {
  readonly summary: AdapterSummary;
  readonly base: StoreBase;
}

/** A version that is not in its folder yet. */
interface Arrived {
  readonly turn: LockTurn;
  readonly prepared: PreparedVersion;
  readonly stored: readonly StoredVersion[];
}

/** A version's folder at the time it was read. */
interface StoredVersion {
  readonly digest: string;
  readonly identity: string;
  /** Whether its files are those of the requested version. */
  readonly isSound: boolean;
}
