/**
 * The named adapters: each entry of the index with its version's summary. A version that was stored for another base is checked again.
 * Writes nothing but summaries.
 */

import { join } from "node:path";
import { Semaphore } from "../../base/async.js";
import type { LorikeetError } from "../../base/errors.js";
import type { LockMark, LockTurn } from "../../base/lock.js";
import type { Logger } from "../../base/log.js";
import { nameFault, nameKey } from "../names.js";
import type { AdapterRecord, AdapterSummary } from "../types.js";
import type { CheckFolder, StoreBase } from "./check.js";
import type { StoreDisk } from "./disk.js";
import { baseNotServed, indexDamaged, versionDamaged, versionMissing } from "./faults.js";
import type { NameChange, NameEntry } from "./name-index.js";
import { asFault, isPassing, type RefusedAdapter } from "./scan.js";
import { isVersion } from "./version-digest.js";
import { summaryFile } from "./versions.js";

export interface StoredOptions {
  readonly disk: StoreDisk;
  readonly check: CheckFolder;
  readonly bases: readonly [StoreBase, ...StoreBase[]];
  readonly reserved: readonly string[];
  readonly logger: Logger;
}

/** An entry with its record, or with the reason that it is not served. */
type View =
  | { readonly entry: NameEntry; readonly record: AdapterRecord; readonly error: null }
  | { readonly entry: NameEntry; readonly record: null; readonly error: LorikeetError };

export class StoredAdapters {
  readonly #options: StoredOptions;
  /** One read at a time, so that an older result never replaces a newer one. */
  readonly #turn = new Semaphore(1);
  /** By the name's key. */
  readonly #views = new Map<string, View>();
  readonly #keysOfWeights = new Map<string, Set<string>>();
  /** Versions whose files were replaced since they were read. */
  readonly #replaced = new Set<string>();
  #seen: LockMark | null = null;

  constructor(options: StoredOptions) {
    this.#options = options;
  }

  /** Reads the changes of other processes; pass `turn` if the lock is held. Returns the keys of the names whose digest has changed. */
  refresh(turn: LockTurn | null): Promise<Set<string>> {
    return this.#turn.run(() => this.#read((disk) => disk.refresh(turn)));
  }

  /** Reads this process's changes in a turn that it still holds. Returns what `refresh` returns. */
  refreshOwn(turn: LockTurn): Promise<Set<string>> {
    return this.#turn.run(() => this.#read((disk) => disk.refreshOwn(turn)));
  }

  /** The turn up to which the view is current; null if unknown. */
  get seen(): LockMark | null {
    return this.#seen;
  }

  has(key: string): boolean {
    return this.#views.has(key);
  }

  /** By a name's key, including refused adapters. */
  entry(key: string): NameEntry | undefined {
    return this.#views.get(key)?.entry;
  }

  record(key: string): AdapterRecord | null {
    return this.#views.get(key)?.record ?? null;
  }

  records(): AdapterRecord[] {
    return [...this.#views.values()].map((view) => view.record).filter((record) => record !== null);
  }

  get size(): number {
    return this.#views.size;
  }

  /** The digests of named versions with this digest of weights. */
  versionsOf(weightsDigest: string): string[] {
    const keys = this.#keysOfWeights.get(weightsDigest) ?? [];
    return [...new Set([...keys].map((key) => this.record(key)?.digest))].filter((digest) => digest !== undefined);
  }

  /** Makes the next refresh read a version's summary again, because its files were replaced. */
  recheck(digest: string): void {
    this.#replaced.add(digest);
  }

  get refused(): RefusedAdapter[] {
    const { names } = this.#options.disk;
    const damaged = [...names.damaged().keys()].map((file) => join(names.folder, file));
    const refused: RefusedAdapter[] = damaged.map((path) => ({ name: path, error: indexDamaged(path) }));
    for (const { entry, error } of this.#views.values()) if (error) refused.push({ name: entry.name, error });
    return refused;
  }

  async #read(changes: (disk: StoreDisk) => Promise<readonly NameChange[]>): Promise<Set<string>> {
    const { disk } = this.#options;
    this.#seen = null;
    const keys = await this.#apply(await changes(disk));
    this.#seen = disk.mark;
    return keys;
  }

  async #apply(changes: readonly NameChange[]): Promise<Set<string>> {
    const entries = new Map<string, NameEntry | null>();
    for (const { before, now } of changes) {
      if (before) entries.set(nameKey(before.name), null);
      if (now) entries.set(nameKey(now.name), now);
    }
    for (const [key, { entry, error }] of this.#views) {
      const isOpen = error !== null && (isPassing(error) || this.#replaced.has(entry.digest));
      if (isOpen && !entries.has(key)) entries.set(key, entry);
    }
    this.#replaced.clear();
    for (const [key, entry] of entries) this.#set(key, entry && (await this.#view(entry)));
    return new Set(entries.keys());
  }

  #set(key: string, view: View | null): void {
    const weights = this.#views.get(key)?.record?.weightsDigest;
    const keys = weights === undefined ? undefined : this.#keysOfWeights.get(weights);
    keys?.delete(key);
    if (weights !== undefined && keys?.size === 0) this.#keysOfWeights.delete(weights);
    if (view) this.#views.set(key, view);
    else this.#views.delete(key);
    if (!view?.record) return;
    const { weightsDigest } = view.record;
    const others = this.#keysOfWeights.get(weightsDigest) ?? new Set();
    this.#keysOfWeights.set(weightsDigest, others.add(key));
  }

  async #view(entry: NameEntry): Promise<View> {
    const { name, createdAt, job } = entry;
    try {
      const fault = nameFault(name, this.#options.reserved);
      if (fault) throw fault;
      const { summary, base } = await this.#checked(entry);
      return {
        entry,
        record: { ...summary, name, base, source: "store", createdAt, ...(job !== undefined && { job }) },
        error: null,
      };
    } catch (cause) {
      const error = asFault(cause, `The adapter "${name}" could not be read.`);
      this.#options.logger.warn({ adapter: name, code: error.code }, error.message);
      return { entry, record: null, error };
    }
  }

  /** A version that only one of the entry's possible bases has checked belongs to that base. */
  async #checked(entry: NameEntry): Promise<{ readonly summary: AdapterSummary; readonly base: string | null }> {
    const { name, digest } = entry;
    const { versions } = this.#options.disk;
    const bases = this.#basesOf(entry);
    const known = await Promise.all(
      bases.map(async (base) => [base, await versions.readSummary(digest, base.checkKey)] as const),
    );
    const [found, ...others] = known.filter(([, summary]) => summary !== null);
    if (found?.[1] && others.length === 0) return { summary: found[1], base: found[0].name ?? entry.base ?? null };
    if (!(await versions.has(digest))) throw versionMissing(name, digest);
    return await this.#check(entry, bases);
  }

  /** The base that the entry remembers, or every base. Throws `adapter_invalid` if the entry's base is not served. */
  #basesOf({ name, base }: NameEntry): readonly [StoreBase, ...StoreBase[]] {
    const { bases } = this.#options;
    if (base === undefined || bases[0].name === null) return bases;
    const own = bases.find((each) => each.name === base) ?? bases.find(({ aliases }) => aliases?.includes(base));
    if (own) return [own];
    throw baseNotServed(
      name,
      base,
      bases.flatMap((each) => each.name ?? []),
    );
  }

  async #check({ name, digest, base: remembered }: NameEntry, bases: readonly [StoreBase, ...StoreBase[]]) {
    const { disk, check, logger } = this.#options;
    const [first, ...others] = bases;
    const checked = await check(disk.versions.folder(digest), others.length === 0 ? { base: first.name } : {});
    if (!isVersion(checked.summary, digest)) throw versionDamaged(digest, name);
    const base = bases.find((each) => each.name === checked.base) ?? first;
    const ignored = checked.summary.ignored.filter((file) => file !== summaryFile);
    const summary = { ...checked.summary, digest, ignored };
    try {
      await disk.enter();
      await disk.versions.addSummary(digest, { checkKey: base.checkKey, summary }, disk.staging.fresh());
    } catch (cause) {
      logger.debug({ adapter: name, err: cause }, "The result of checking an adapter could not be saved.");
    }
    return { summary, base: base.name ?? remembered ?? null };
  }
}
