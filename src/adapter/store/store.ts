/**
 * The adapters that can be served: versions stored by digest with names that point at them, and the folders that an operator
 * put beside them. Every change is whole or not at all, across crashes and between processes. Knows no HTTP and no tensors.
 */

import { stat } from "node:fs/promises";
import { resolve } from "node:path";
import { orMissing, removeTree, storageFault } from "../../base/durable.js";
import { assert, LorikeetError } from "../../base/errors.js";
import type { LockTurn } from "../../base/lock.js";
import { type Logger, silent } from "../../base/log.js";
import { checkName, nameKey } from "../names.js";
import type { AdapterRecord, AdapterSummary } from "../types.js";
import { StoreDisk } from "./disk.js";
import {
  checkCount,
  checkRoom,
  digestMissing,
  folderChanged,
  nameExists,
  nameMissing,
  nameTaken,
  noDirectory,
  ownedByOperator,
  versionDamaged,
} from "./faults.js";
import { Holds } from "./holds.js";
import { asFault, FolderScan, type RefusedAdapter } from "./scan.js";
import { StoredAdapters } from "./stored.js";
import {
  type PutOptions,
  type PutResult,
  type StoreLimits,
  type StoreOptions,
  type StoreUsage,
  storeDefaults,
  type Verdict,
} from "./types.js";
import { UnderWay } from "./under-way.js";
import { isVersion } from "./version-digest.js";
import type { PreparedVersion } from "./versions.js";

/** How long a collection waits for another process: nobody needs it now, and every scan tries it again. */
const collectWaitMs = 500;

export * from "./types.js";

export class AdapterStore {
  readonly #options: StoreOptions;
  readonly #limits: StoreLimits;
  readonly #logger: Logger;
  readonly #disk: StoreDisk;
  readonly #stored: StoredAdapters;
  readonly #scan: FolderScan;
  readonly #holds = new Holds((digest) => this.#freed(digest));
  /** What is held, by its digest: a version that is stored, or an operator's folder. */
  readonly #held = new Map<string, Held>();
  /** How many names stand for what is computed, by its digest. */
  readonly #namedWeights = new Map<string, number>();
  /** Held versions without a name, which go with their last hold. */
  #orphans: ReadonlySet<string> = new Set();
  /** Whether there may be something to collect that was not yet. */
  #uncollected = true;
  /** By the name's key. */
  readonly #announced = new Map<string, AdapterRecord>();
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> | undefined;
  #background: Promise<void> = Promise.resolve();
  readonly #underWay = new UnderWay();

  private constructor(options: StoreOptions) {
    this.#options = options;
    this.#limits = { ...storeDefaults, ...options.limits };
    this.#logger = options.logger ?? silent;
    const directory = resolve(options.directory);
    const { check, checkKey, reserved = [] } = options;
    const logger = this.#logger;
    this.#disk = new StoreDisk(directory, { ...this.#limits, tryLock: options.tryLock });
    this.#stored = new StoredAdapters({ disk: this.#disk, check, checkKey, reserved, logger });
    this.#scan = new FolderScan({ directory, check, reserved, isStored: (key) => this.#stored.has(key), logger });
  }

  /** Opens a directory of adapters, cleans up after crashes and takes the folders that are there. */
  static async open(options: StoreOptions): Promise<AdapterStore> {
    const status = await orMissing(stat(options.directory));
    if (!status?.isDirectory()) throw noDirectory(options.directory);
    const store = new AdapterStore(options);
    await store.#join();
    await store.#stored.refresh(null);
    await store.#scan.look({ eager: true });
    await store.#collectSafely();
    store.#announceAll();
    await store.#publish();
    return store;
  }

  /** Looks for folders and for other processes' changes every `scanMs` until `close`. */
  start(): void {
    this.#timer ??= setInterval(() => void this.scan(), this.#limits.scanMs).unref();
  }

  /** Looks once, now; joins a look that is under way. Never rejects. */
  scan(): Promise<void> {
    this.#looking ??= this.#look()
      .catch((cause: unknown) => this.#logger.warn({ err: cause }, "The adapters folder could not be read."))
      .finally(() => {
        this.#looking = undefined;
      });
    return this.#looking;
  }

  /** By rising name. */
  list(): AdapterRecord[] {
    const folders = [...this.#scan.taken].filter(([key]) => !this.#stored.has(key)).map(([, { record }]) => record);
    return [...folders, ...this.#stored.records()].sort((left, right) => (left.name < right.name ? -1 : 1));
  }

  /** The adapter of exactly this name, or null. */
  resolve(name: string): AdapterRecord | null {
    const key = nameKey(name);
    const record = this.#stored.has(key) ? this.#stored.record(key) : this.#scan.taken.get(key)?.record;
    return record?.name === name ? record : null;
  }

  /** What is there but not served, each with its reason. */
  refused(): readonly RefusedAdapter[] {
    return [...this.#stored.refused, ...this.#scan.refused];
  }

  /**
   * Keeps the files of a version, even without a name, until the returned function is called. Call it in the same turn as
   * `resolve`. An operator's folder cannot be kept: loading one that has changed fails by its digest.
   */
  hold({ digest, name, source, weightsDigest }: Held & Pick<AdapterRecord, "digest">): () => void {
    if (this.#held.get(digest)?.source !== "store") this.#held.set(digest, { name, source, weightsDigest });
    return this.#holds.acquire(digest);
  }

  /** Whether a name points at a version that computes this. */
  isNamed(weightsDigest: string): boolean {
    return this.#namedWeights.has(weightsDigest);
  }

  /**
   * Reads what a digest of weights stands for from any of the folders that should hold it. `use` rejects where the bytes are
   * others: then the next folder is tried, and an operator's folder is checked again. Throws `adapter_not_found`, and
   * `adapter_damaged` or `adapter_changed` where no folder holds it any more.
   */
  async read<T>(weightsDigest: string, use: (folder: string) => Promise<T>): Promise<T> {
    const operators = [...this.#held.values()].find(
      (held) => held.source === "folder" && computes(held, weightsDigest),
    );
    let fault = operators ? folderChanged(operators.name) : digestMissing(weightsDigest);
    for (const digest of this.#versionsOf(weightsDigest)) {
      const { versions } = this.#disk;
      for (let known = await versions.identity(digest); ; ) {
        try {
          return await use(versions.folder(digest));
        } catch (cause) {
          if (!isDamage(cause)) throw cause;
          const now = await versions.identity(digest);
          if (now === known || now === null) {
            fault = versionDamaged(digest, cause);
            this.#logger.error({ digest, err: cause }, fault.message);
            break;
          }
          known = now; // it was replaced while it was read
        }
      }
    }
    for (const { record, folder } of this.#scan.taken.values()) {
      if (record.weightsDigest !== weightsDigest) continue;
      try {
        return await use(folder);
      } catch (cause) {
        if (!isDamage(cause)) throw cause;
        fault = folderChanged(record.name, cause);
        this.#logger.warn({ adapter: record.name, err: cause }, fault.message);
        this.#scan.recheck(folder);
      }
    }
    if (fault.code === "adapter_changed") await this.scan();
    throw fault;
  }

  /** Where the files of a version lie: a stored one first, then a folder. Throws `adapter_not_found`. */
  async folder(digest: string): Promise<string> {
    const { versions } = this.#disk;
    if (await versions.has(digest)) return versions.folder(digest);
    for (const { record, folder } of this.#scan.taken.values()) if (record.digest === digest) return folder;
    throw digestMissing(digest);
  }

  /** An empty folder on the store's disk to receive an adapter in. Whoever asked for it removes it, or hands it to `put`. */
  stage(): Promise<string> {
    return this.#underWay.run(() => this.#writing(() => this.#disk.staging.make()));
  }

  /** Copies a folder into a staged one; `within` bounds where its links lead. Throws `invalid_value` or `store_full`. */
  stageCopy(source: string, options: { readonly within?: string } = {}): Promise<string> {
    const bounds = { ...options, maxBytes: this.#limits.totalBytes };
    return this.#underWay.run(() => this.#writing(() => this.#disk.staging.copy(source, bounds)));
  }

  /**
   * Checks a staged folder, stores it as a version and points the name at it. The folder is removed, whatever happens.
   * Throws `invalid_name`, `precondition_failed`, `conflict`, `store_full`, or what the check throws.
   */
  async put(name: string, staged: string, options: PutOptions = {}): Promise<PutResult> {
    assert(this.#disk.staging.owns(staged), `${staged} was staged by this store`);
    try {
      return await this.#underWay.run(() => this.#checkAndStore(name, staged, options));
    } finally {
      await removeTree(staged); // also where it was refused at the door
    }
  }

  /** Takes a name away, also of a refused adapter; its version stays while it is held. Throws `adapter_not_found` or `conflict`. */
  remove(name: string): Promise<Pick<AdapterRecord, "name" | "digest">> {
    return this.#underWay.run(() => this.#change((turn) => this.#unname(name, turn)));
  }

  /** Reads every adapter again and compares it with its digest; what is refused comes last. */
  async *verify(): AsyncGenerator<Verdict> {
    for (const record of this.list()) {
      const { name, digest } = record;
      const release = this.hold(record);
      try {
        const { summary } = await this.#options.check(await this.folder(digest));
        yield { name, digest, error: isVersion(summary, digest) ? null : versionDamaged(digest) };
      } catch (cause) {
        yield { name, digest, error: asFault(cause, `The adapter "${name}" could not be read.`) };
      } finally {
        release();
      }
    }
    for (const { name, error } of this.refused()) yield { name, digest: null, error };
  }

  async usage(): Promise<StoreUsage> {
    await this.#refresh(null);
    const { sizes, bytes } = this.#disk.versions;
    return { versions: sizes.size, bytes, totalBytes: this.#limits.totalBytes };
  }

  /** Stops looking, waits for what is under way and leaves the folder. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#looking;
    await this.#underWay.close();
    await this.#background;
    await this.#disk.leave();
  }

  async #checkAndStore(name: string, staged: string, options: PutOptions): Promise<PutResult> {
    try {
      checkName(name, this.#options.reserved);
      const { summary } = await this.#options.check(staged, options.client);
      this.#options.admit?.(summary);
      return await this.#writing(() => this.#store(name, staged, summary, options));
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

  async #store(name: string, staged: string, summary: AdapterSummary, options: PutOptions): Promise<PutResult> {
    const stored = await this.#findStored(summary);
    const prepared = await this.#prepare(staged, summary);
    try {
      return await this.#change((turn) => this.#point(name, summary, { turn, prepared, stored }, options));
    } finally {
      await removeTree(prepared.folder);
    }
  }

  /** The slow part of a put, the flushing of its bytes, before the lock is taken. */
  async #prepare(staged: string, summary: AdapterSummary): Promise<PreparedVersion> {
    const draft = await this.#disk.staging.make();
    try {
      return await this.#disk.versions.prepare(staged, draft, { checkKey: this.#options.checkKey, summary });
    } catch (cause) {
      await removeTree(draft);
      throw cause;
    }
  }

  /**
   * What is stored already of a version, read through before anything is said of it. One that was stored before versions had
   * digests of their own counts where its files are the same, byte for byte.
   */
  async #findStored({ digest, weightsDigest }: AdapterSummary): Promise<StoredVersion[]> {
    const found: StoredVersion[] = [];
    for (const place of new Set([digest, weightsDigest])) {
      const identity = await this.#disk.versions.identity(place);
      if (identity === null) continue;
      const summary = await this.#checkStored(place);
      found.push({ digest: place, identity, isSound: summary?.digest === digest });
    }
    return found;
  }

  /** null where the files are damaged. */
  async #checkStored(digest: string): Promise<AdapterSummary | null> {
    try {
      return (await this.#options.check(this.#disk.versions.folder(digest))).summary;
    } catch (cause) {
      if (isDamage(cause)) return null;
      throw cause;
    }
  }

  /** Under the lock: the version gets its folder, then the name points at it. */
  async #point(
    name: string,
    summary: AdapterSummary,
    arrived: Arrived,
    { ifNoneMatch }: PutOptions,
  ): Promise<PutResult> {
    this.#refuseFolder(name);
    const current = this.#stored.entry(nameKey(name));
    if (current && current.name !== name) throw nameTaken(name, current.name);
    if (current && ifNoneMatch === "*") throw nameExists(name);
    if (!current) checkCount(this.#stored.size, this.#limits.maxNames);
    const { digest, isNew } = await this.#settle(summary.digest, arrived);
    const record = (createdAt: number): AdapterRecord => ({ ...summary, digest, name, source: "store", createdAt });
    if (current?.digest === digest && !isNew) return { record: record(current.createdAt), outcome: "identical" };
    const createdAt = Date.now();
    const previous = (current ? [current.digest, ...current.previous] : []).filter((other) => other !== digest);
    const entry = { name, digest, createdAt, previous: [...new Set(previous)].slice(0, 8) };
    await this.#disk.point(arrived.turn, entry);
    return { record: record(createdAt), outcome: current ? "replaced" : "created" };
  }

  /** Under the lock: the digest that holds the version's files, put there unless they are there and sound. */
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
    if (now !== null && !isDamaged) return { digest, isNew: false }; // stored by another since
    if (!isDamaged) checkRoom(versions.bytes, prepared.bytes, this.#limits.totalBytes);
    await this.#disk.commit(turn, digest, prepared);
    if (isDamaged) {
      this.#logger.warn({ digest }, "The damaged files of an adapter were replaced by an upload of the same adapter.");
      this.#stored.recheck(digest);
    }
    return { digest, isNew: true };
  }

  /** Runs a change under the lock, on a view that is current, and makes it visible. */
  #change<T>(task: (turn: LockTurn) => Promise<T>): Promise<T> {
    return this.#writing(() =>
      this.#disk.lock.run(async (turn) => {
        await this.#refresh(turn);
        try {
          return await task(turn);
        } finally {
          this.#announce(await this.#stored.refreshOwn(turn));
          await this.#collect(turn).catch((cause: unknown) => this.#notCollected(cause));
        }
      }),
    );
  }

  /** Reads what others have changed. */
  async #refresh(turn: LockTurn | null): Promise<Set<string>> {
    const changed = await this.#stored.refresh(turn);
    this.#announce(changed);
    return changed;
  }

  async #writing<T>(task: () => Promise<T>): Promise<T> {
    try {
      await this.#disk.enter();
      return await task();
    } catch (cause) {
      throw storageFault(cause, this.#options.directory);
    }
  }

  #refuseFolder(name: string): void {
    const folder = this.#scan.taken.get(nameKey(name));
    if (!folder || this.#stored.has(nameKey(name))) return;
    throw ownedByOperator(folder.record.name, this.#options.directory);
  }

  async #look(): Promise<void> {
    await this.#join();
    const changed = await this.#refresh(null);
    const before = [...this.#scan.taken.keys()];
    await this.#scan.look({ eager: false });
    this.#announce([...before, ...this.#scan.taken.keys()]);
    await this.#publish();
    if (changed.size > 0 || this.#uncollected) await this.#collectSafely();
  }

  /** Registers with a store that exists, and clears up after dead processes. A folder that cannot be written is only read. */
  async #join(): Promise<void> {
    if (!(await orMissing(stat(this.#disk.root)))) return;
    try {
      await this.#disk.enter();
      await this.#disk.sweep();
    } catch (cause) {
      this.#logger.debug({ err: cause }, "The store is read, but cannot be written.");
    }
  }

  /** The digests of stored versions that compute this: those with a name, then those that are held. Not of operators' folders. */
  #versionsOf(weightsDigest: string): Set<string> {
    const held = [...this.#held].filter(([, each]) => each.source === "store" && computes(each, weightsDigest));
    return new Set([...this.#stored.versionsOf(weightsDigest), ...held.map(([digest]) => digest)]);
  }

  #isHeld(weightsDigest: string): boolean {
    return [...this.#held.values()].some((held) => computes(held, weightsDigest));
  }

  /** Told by the last hold. */
  #freed(digest: string): void {
    const held = this.#held.get(digest);
    this.#held.delete(digest);
    if (held) this.#tellUnwanted(held.weightsDigest);
    if (!this.#orphans.has(digest)) return;
    this.#background = this.#background.then(() => this.#collectSafely());
  }

  /** Lets other processes delete what this one has seen go and does not hold. Where this fails they keep it. */
  async #publish(): Promise<void> {
    if (!this.#disk.entered) return;
    try {
      await this.#disk.users.publish({ seen: this.#stored.seen, holds: this.#namelessHolds() });
    } catch (cause) {
      this.#logger.debug({ err: cause }, "Other processes could not be told which versions are needed here.");
    }
  }

  #namelessHolds(): Set<string> {
    const folders = new Set([...this.#scan.taken.values()].map(({ record }) => record.digest));
    const digests = this.#holds.digests();
    return new Set(digests.filter((digest) => !folders.has(digest) && !this.#disk.names.isPointedAt(digest)));
  }

  async #collectSafely(): Promise<void> {
    if (!this.#disk.entered) return;
    const collecting = this.#disk.lock.run(async (turn) => {
      await this.#refresh(turn);
      await this.#collect(turn);
    }, collectWaitMs);
    await collecting.catch((cause: unknown) => this.#notCollected(cause));
  }

  /** Under the lock. */
  async #collect(turn: LockTurn): Promise<void> {
    const { deleted, orphans } = await this.#disk.collect(turn, (digest) => this.#holds.has(digest));
    await this.#stored.refreshOwn(turn);
    this.#orphans = orphans;
    this.#uncollected = [...orphans].some((digest) => !this.#holds.has(digest));
    for (const digest of deleted) this.#options.observer?.deleted?.(digest);
  }

  #notCollected(cause: unknown): void {
    this.#uncollected = true;
    if (cause instanceof LorikeetError && cause.code === "conflict") return; // another process writes
    this.#logger.warn({ err: cause }, "Versions that nobody needs could not be deleted; this is tried again.");
  }

  #announceAll(): void {
    this.#announce(this.list().map((record) => nameKey(record.name)));
  }

  /** Tells of the names of these keys that stand for something else than was told. */
  #announce(keys: Iterable<string>): void {
    const { named, unnamed } = this.#options.observer ?? {};
    const gone: AdapterRecord[] = [];
    const come: AdapterRecord[] = [];
    for (const key of new Set(keys)) {
      const before = this.#announced.get(key);
      const now = this.#stored.has(key) ? this.#stored.record(key) : this.#scan.taken.get(key)?.record;
      if (before?.name === now?.name && before?.digest === now?.digest) continue;
      if (before) gone.push(before);
      if (now) come.push(now);
      if (now) this.#announced.set(key, now);
      else this.#announced.delete(key);
    }
    for (const record of come) this.#count(record, 1);
    for (const record of gone) this.#count(record, -1);
    for (const record of gone) unnamed?.(record);
    for (const record of come) named?.(record);
    for (const weightsDigest of new Set(gone.map((record) => record.weightsDigest))) this.#tellUnwanted(weightsDigest);
  }

  #count({ weightsDigest }: AdapterRecord, by: number): void {
    const count = (this.#namedWeights.get(weightsDigest) ?? 0) + by;
    if (count > 0) this.#namedWeights.set(weightsDigest, count);
    else this.#namedWeights.delete(weightsDigest);
  }

  #tellUnwanted(weightsDigest: string): void {
    if (this.isNamed(weightsDigest) || this.#isHeld(weightsDigest)) return;
    this.#options.observer?.unwanted?.(weightsDigest);
  }
}

type Held = Pick<AdapterRecord, "name" | "source" | "weightsDigest">;

function computes(held: Held, weightsDigest: string): boolean {
  return held.weightsDigest === weightsDigest;
}

/** A version that waits for its place. */
interface Arrived {
  readonly turn: LockTurn;
  readonly prepared: PreparedVersion;
  readonly stored: readonly StoredVersion[];
}

/** A version's folder as it was when it was read through. */
interface StoredVersion {
  readonly digest: string;
  readonly identity: string;
  /** Its files are those of the version that was looked for. */
  readonly isSound: boolean;
}

/** Whether reading an adapter that was sound when it was stored found other bytes, or none. */
function isDamage(cause: unknown): boolean {
  if (!(cause instanceof LorikeetError)) return false;
  return cause.code === "adapter_invalid" || cause.code === "adapter_unsupported" || cause.code === "digest_mismatch";
}
