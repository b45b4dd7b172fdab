/**
 * The view of what is stored under names: each entry of the index with what is known about its version, checked again where
 * it was stored for another base. Changes nothing but those summaries.
 */

import { Semaphore } from "../base/async.js";
import type { LorikeetError } from "../base/errors.js";
import type { Logger } from "../base/log.js";
import type { StoreDisk } from "./disk.js";
import type { NameEntry } from "./name-index.js";
import { nameFault, nameKey } from "./names.js";
import { asFault, type CheckFolder, isPassing, type RefusedAdapter } from "./scan.js";
import { indexDamaged, versionDamaged, versionMissing } from "./store-faults.js";
import type { AdapterRecord, AdapterSummary } from "./types.js";
import { isVersion } from "./version-digest.js";
import { summaryFile } from "./versions.js";

export interface StoredOptions {
  readonly disk: StoreDisk;
  readonly check: CheckFolder;
  readonly checkKey: string;
  readonly reserved: readonly string[];
  readonly logger: Logger;
}

/** An entry with its record, or with the reason why it is not served. */
type View =
  | { readonly entry: NameEntry; readonly record: AdapterRecord; readonly error: null }
  | { readonly entry: NameEntry; readonly record: null; readonly error: LorikeetError };

export class StoredAdapters {
  readonly #options: StoredOptions;
  /** One reading at a time, so that an older one never replaces a newer. */
  readonly #turn = new Semaphore(1);
  #views: ReadonlyMap<string, View> = new Map();
  #damaged: readonly RefusedAdapter[] = [];
  readonly #replaced = new Set<string>();

  constructor(options: StoredOptions) {
    this.#options = options;
  }

  /** Reads what has changed; true when something has. */
  refresh(options: { readonly force: boolean }): Promise<boolean> {
    return this.#turn.run(async () => {
      const { names } = this.#options.disk;
      await names.refresh(options);
      const views = new Map<string, View>();
      for (const entry of names.entries()) {
        const key = nameKey(entry.name);
        const known = this.#views.get(key);
        const isCurrent = known?.entry === entry && !this.#replaced.has(entry.digest);
        const stays = isCurrent && !(known.error && isPassing(known.error));
        views.set(key, stays ? known : await this.#view(entry));
      }
      const damaged = names.damaged();
      const changed =
        views.size !== this.#views.size ||
        damaged.length !== this.#damaged.length ||
        [...views].some(([key, view]) => this.#views.get(key) !== view);
      this.#views = views;
      this.#replaced.clear();
      this.#damaged = damaged.map((path) => ({ name: path, error: indexDamaged(path) }));
      return changed;
    });
  }

  has(key: string): boolean {
    return this.#views.has(key);
  }

  /** Of a name's key; also where the adapter is refused. */
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

  digests(): Set<string> {
    return new Set([...this.#views.values()].map((view) => view.entry.digest));
  }

  /** The digests of named versions that compute this. */
  versionsOf(weightsDigest: string): string[] {
    const records = this.records().filter((record) => record.weightsDigest === weightsDigest);
    return [...new Set(records.map((record) => record.digest))];
  }

  /** Reads what is known of a version anew at the next refresh: its files have been replaced. */
  recheck(digest: string): void {
    this.#replaced.add(digest);
  }

  get refused(): RefusedAdapter[] {
    const refused: RefusedAdapter[] = [...this.#damaged];
    for (const { entry, error } of this.#views.values()) if (error) refused.push({ name: entry.name, error });
    return refused;
  }

  async #view(entry: NameEntry): Promise<View> {
    const { name, createdAt } = entry;
    try {
      const fault = nameFault(name, this.#options.reserved);
      if (fault) throw fault;
      const summary = await this.#summary(entry);
      return { entry, record: { ...summary, name, source: "store", createdAt }, error: null };
    } catch (cause) {
      const error = asFault(cause, `The adapter "${name}" could not be read.`);
      this.#options.logger.warn({ adapter: name, code: error.code }, error.message);
      return { entry, record: null, error };
    }
  }

  async #summary({ name, digest }: NameEntry): Promise<AdapterSummary> {
    const { disk, check, checkKey, logger } = this.#options;
    const known = await disk.versions.readSummary(digest, checkKey);
    if (known) return known;
    if (!(await disk.versions.has(digest))) {
      throw versionMissing(name, digest);
    }
    const checked = (await check(disk.versions.folder(digest))).summary;
    if (!isVersion(checked, digest)) throw versionDamaged(digest);
    const summary = { ...checked, digest, ignored: checked.ignored.filter((file) => file !== summaryFile) };
    try {
      await disk.enter();
      await disk.versions.addSummary(digest, { checkKey, summary }, disk.staging.fresh());
    } catch (cause) {
      logger.debug({ adapter: name, err: cause }, "The result of checking an adapter could not be kept.");
    }
    return summary;
  }
}
