/**
 * The adapters that can be served: versions stored by digest, names that point at them, and the folders that an operator placed
 * beside them. Every change is atomic, across crashes and between processes. Knows no HTTP and no tensors.
 */

import { randomUUID } from "node:crypto";
import { realpath, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { orMissing } from "../../base/durable.js";
import { type Logger, silent } from "../../base/log.js";
import type { AdapterRecord } from "../types.js";
import { Collector } from "./collector.js";
import { StoreDisk } from "./disk.js";
import { noDirectory } from "./faults.js";
import { type Held, Holds } from "./holds.js";
import { AdapterReader } from "./reader.js";
import { FolderScan, type RefusedAdapter, type ScanPlace } from "./scan.js";
import { ServedNames } from "./served-names.js";
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
import { StoreWriter } from "./writer.js";

export * from "./types.js";

export class AdapterStore {
  readonly #limits: StoreLimits;
  readonly #logger: Logger;
  readonly #takesUploads: boolean;
  readonly #disk: StoreDisk;
  readonly #stored: StoredAdapters;
  readonly #scan: FolderScan;
  readonly #holds = new Holds((digest, held) => this.#freed(digest, held));
  readonly #names: ServedNames;
  readonly #collector: Collector;
  readonly #reader: AdapterReader;
  readonly #writer: StoreWriter;
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> | undefined;

  private constructor(options: StoreOptions, places: readonly ScanPlace[]) {
    const { check, bases, reserved = [], observer = {}, logger = silent } = options;
    const directory = options.directory === null ? nowhere() : resolve(options.directory);
    const limits = { ...storeDefaults, ...options.limits };
    const holds = this.#holds;
    const disk = new StoreDisk(directory, { ...limits, tryLock: options.tryLock });
    const stored = new StoredAdapters({ disk, check, bases, reserved, logger });
    const storedName = (key: string): string | undefined => stored.entry(key)?.name;
    const scan = new FolderScan({ places, check, bases, reserved, storedName, logger });
    const names = new ServedNames({ stored, scan, holds, observer });
    const collector = new Collector({ disk, stored, scan, names, holds, observer, logger });
    const rescan = (): Promise<void> => this.scan();
    this.#limits = limits;
    this.#logger = logger;
    this.#takesUploads = options.directory !== null;
    this.#disk = disk;
    this.#stored = stored;
    this.#scan = scan;
    this.#names = names;
    this.#collector = collector;
    this.#reader = new AdapterReader({ disk, stored, scan, names, holds, check, logger, rescan });
    this.#writer = new StoreWriter({ options, limits, disk, stored, scan, names, collector, logger });
  }

  /** Opens a directory of adapters, cleans up after crashes, and checks the folders in it. */
  static async open(options: StoreOptions): Promise<AdapterStore> {
    const { directory } = options;
    if (directory !== null) {
      const status = await orMissing(stat(directory));
      if (!status?.isDirectory()) throw noDirectory(directory);
    }
    const store = new AdapterStore(options, await placesOf(options));
    await store.#join();
    await store.#stored.refresh(null);
    await store.#scan.look({ eager: true });
    await store.#collector.run();
    store.#names.announceAll();
    await store.#collector.publish();
    return store;
  }

  /** Scans for folders and for changes by other processes every `scanMs`, until `close`. */
  start(): void {
    this.#timer ??= setInterval(() => void this.scan(), this.#limits.scanMs).unref();
  }

  /** Scans once, now, or joins a scan in progress. Never rejects. */
  scan(): Promise<void> {
    this.#looking ??= this.#look()
      .catch((cause: unknown) => this.#logger.warn({ err: cause }, "The adapters folder could not be read."))
      .finally(() => {
        this.#looking = undefined;
      });
    return this.#looking;
  }

  /** Whether there is a folder to store uploads in. */
  get takesUploads(): boolean {
    return this.#takesUploads;
  }

  /** Sorted by name. */
  list(): AdapterRecord[] {
    return this.#names.list();
  }

  /** The adapter of exactly this name, or null. */
  resolve(name: string): AdapterRecord | null {
    return this.#names.resolve(name);
  }

  /** Adapters that are not served, each with the reason. */
  refused(): readonly RefusedAdapter[] {
    return this.#names.refused();
  }

  /**
   * Keeps a version's files, even if it loses its name, until the returned function is called. Call it in the same turn as `resolve`.
   * An operator's folder cannot be kept: loading it after a change fails by its digest.
   */
  hold(adapter: Held & Pick<AdapterRecord, "digest">): () => void {
    return this.#holds.acquire(adapter);
  }

  /** Whether a name points at a version with this digest of weights. */
  isNamed(weightsDigest: string): boolean {
    return this.#names.isNamed(weightsDigest);
  }

  /**
   * Reads the weights with this digest from any folder that should contain them. If `use` rejects because the bytes differ, the next
   * folder is tried, and an operator's folder is checked again. Throws `adapter_not_found`, or `adapter_damaged` or `adapter_changed`
   * if no folder contains them any more.
   */
  read<T>(weightsDigest: string, use: (folder: string) => Promise<T>): Promise<T> {
    return this.#reader.read(weightsDigest, use);
  }

  /** The folder with a version's files: a stored version comes before an operator's folder. Throws `adapter_not_found`. */
  folder(digest: string): Promise<string> {
    return this.#reader.folder(digest);
  }

  /** Creates an empty folder on the store's disk, to receive an adapter. The caller removes it or passes it to `put`. */
  stage(): Promise<string> {
    return this.#writer.stage();
  }

  /** Copies a folder into a staged one. Its links may only lead to paths below `within`. Throws `invalid_value` or `store_full`. */
  stageCopy(source: string, options: { readonly within?: string } = {}): Promise<string> {
    return this.#writer.stageCopy(source, options);
  }

  /**
   * Checks a staged folder, stores it as a version and points the name at it. The folder is removed in any case. The name keeps its base
   * where there are several, or where one was asked for. Throws `invalid_name`, `precondition_failed`, `conflict`, `store_full`, or what the check throws.
   */
  put(name: string, staged: string, options: PutOptions = {}): Promise<PutResult> {
    return this.#writer.put(name, staged, options);
  }

  /** Removes a name, even of a refused adapter. Its version stays while it is held. Throws `adapter_not_found` or `conflict`. */
  remove(name: string): Promise<Pick<AdapterRecord, "name" | "digest">> {
    return this.#writer.remove(name);
  }

  /** Reads every adapter and compares it with its digest. Refused adapters come last. */
  verify(): AsyncGenerator<Verdict> {
    return this.#reader.verify();
  }

  async usage(): Promise<StoreUsage> {
    await this.#names.refresh(null);
    const { sizes, bytes } = this.#disk.versions;
    return { versions: sizes.size, bytes, totalBytes: this.#limits.totalBytes };
  }

  /** Stops scanning, waits for running tasks, and leaves the folder. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#looking;
    await this.#writer.close();
    await this.#collector.settled();
    await this.#disk.leave();
  }

  async #look(): Promise<void> {
    await this.#join();
    const changed = await this.#names.refresh(null);
    const before = [...this.#scan.taken.keys()];
    await this.#scan.look({ eager: false });
    this.#names.announce([...before, ...this.#scan.taken.keys()]);
    await this.#collector.publish();
    if (changed.size > 0 || this.#collector.isDue) await this.#collector.run();
  }

  /** Registers with an existing store and cleans up after dead processes. Uses a folder without write permission read-only. */
  async #join(): Promise<void> {
    if (!(await orMissing(stat(this.#disk.root)))) return;
    try {
      await this.#disk.enter();
      await this.#disk.sweep();
    } catch (cause) {
      this.#logger.debug({ err: cause }, "The store is used read-only, because it cannot be written.");
    }
  }

  /** Called when the last hold is released. */
  #freed(digest: string, { weightsDigest }: Held): void {
    this.#names.tellUnwanted(weightsDigest);
    this.#collector.freed(digest);
  }
}

/** The directory, then those of the bases that are not the same one. Two bases may share theirs: each name goes to the first. */
async function placesOf({ directory, own = [] }: StoreOptions): Promise<ScanPlace[]> {
  if (directory === null) return [...own];
  const operators: ScanPlace = { directory: resolve(directory), base: null };
  const path = await realPath(operators);
  const places = [operators];
  for (const place of own) if ((await realPath(place)) !== path) places.push(place);
  return places;
}

const realPath = async ({ directory }: ScanPlace): Promise<string> =>
  (await orMissing(realpath(directory))) ?? directory;

/** Where a store that stores nothing would lie: a path that does not exist, and that no writer creates. */
const nowhere = (): string => join(tmpdir(), `lorikeet-nowhere-${randomUUID()}`);
