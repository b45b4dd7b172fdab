/** Reads adapters' files and compares them with their digests. If one folder's files are damaged, tries the next. Changes none. */

import type { Logger } from "../../base/log.js";
import type { CheckFolder } from "./check.js";
import type { StoreDisk } from "./disk.js";
import { digestMissing, folderChanged, isDamage, versionDamaged } from "./faults.js";
import type { Holds } from "./holds.js";
import { asFault, type FolderScan } from "./scan.js";
import type { ServedNames } from "./served-names.js";
import type { StoredAdapters } from "./stored.js";
import type { Verdict } from "./types.js";
import { isVersion } from "./version-digest.js";

export interface ReaderParts {
  readonly disk: StoreDisk;
  readonly stored: StoredAdapters;
  readonly scan: FolderScan;
  readonly names: ServedNames;
  readonly holds: Holds;
  readonly check: CheckFolder;
  readonly logger: Logger;
  /** Rescans the folders, because one of them has changed. */
  readonly rescan: () => Promise<void>;
}

export class AdapterReader {
  readonly #parts: ReaderParts;

  constructor(parts: ReaderParts) {
    this.#parts = parts;
  }

  /** As the store's `read`. */
  async read<T>(weightsDigest: string, use: (folder: string) => Promise<T>): Promise<T> {
    const { disk, stored, scan, holds, logger } = this.#parts;
    const { versions } = disk;
    const operators = holds.folderOf(weightsDigest);
    let fault = operators ? folderChanged(operators.name) : digestMissing(weightsDigest);
    for (const digest of new Set([...stored.versionsOf(weightsDigest), ...holds.versionsOf(weightsDigest)])) {
      for (let known = await versions.identity(digest); ; ) {
        try {
          return await use(versions.folder(digest));
        } catch (cause) {
          if (!isDamage(cause)) throw cause;
          const now = await versions.identity(digest);
          if (now === known || now === null) {
            fault = versionDamaged(digest, this.#nameOf(weightsDigest), cause);
            logger.error({ digest, err: cause }, fault.message);
            break;
          }
          known = now; // it was replaced while it was being read
        }
      }
    }
    for (const { record, folder } of scan.taken.values()) {
      if (record.weightsDigest !== weightsDigest) continue;
      try {
        return await use(folder);
      } catch (cause) {
        if (!isDamage(cause)) throw cause;
        fault = folderChanged(record.name, cause);
        logger.warn({ adapter: record.name, err: cause }, fault.message);
        scan.recheck(folder);
      }
    }
    if (fault.code === "adapter_changed") await this.#parts.rescan();
    throw fault;
  }

  /** The first name of an adapter with these weights; null if it is gone. */
  #nameOf(weightsDigest: string): string | null {
    return this.#parts.names.list().find((record) => record.weightsDigest === weightsDigest)?.name ?? null;
  }

  /** As the store's `folder`. */
  async folder(digest: string): Promise<string> {
    const { disk, scan } = this.#parts;
    if (await disk.versions.has(digest)) return disk.versions.folder(digest);
    for (const { record, folder } of scan.taken.values()) if (record.digest === digest) return folder;
    throw digestMissing(digest);
  }

  /** As the store's `verify`. */
  async *verify(): AsyncGenerator<Verdict> {
    const { names, holds, check } = this.#parts;
    for (const record of names.list()) {
      const { name, digest, base } = record;
      const release = holds.acquire(record);
      try {
        const { summary } = await check(await this.folder(digest), { base });
        yield { name, digest, error: isVersion(summary, digest) ? null : versionDamaged(digest, name) };
      } catch (cause) {
        yield { name, digest, error: asFault(cause, `The adapter "${name}" could not be read.`) };
      } finally {
        release();
      }
    }
    for (const { name, error } of names.refused()) yield { name, digest: null, error };
  }
}
