/**
 * The adapters that an operator placed in directories: accepted once a folder is unchanged between two scans, dropped when it is gone.
 * Never writes to them. A refused folder is kept with its error and does not affect the others.
 */

import { dirname } from "node:path";
import { LorikeetError } from "../../base/errors.js";
import type { Logger } from "../../base/log.js";
import { nameFault, nameKey } from "../names.js";
import type { AdapterRecord } from "../types.js";
import type { CheckFolder, StoreBase } from "./check.js";
import { folderNameTaken } from "./faults.js";
import { type FolderCandidate, findFolders } from "./folders.js";

export interface FolderAdapter {
  readonly record: AdapterRecord;
  readonly folder: string;
}

export interface RefusedAdapter {
  readonly name: string;
  readonly error: LorikeetError;
}

/** A directory of adapters. */
export interface ScanPlace {
  readonly directory: string;
  /** The base that all of them belong to; null: each belongs to the one that it names or fits. */
  readonly base: string | null;
}

export interface ScanOptions {
  /** Of equal names, the first place's is served. */
  readonly places: readonly ScanPlace[];
  readonly check: CheckFolder;
  readonly bases: readonly [StoreBase, ...StoreBase[]];
  /** Names that no adapter may have. */
  readonly reserved: readonly string[];
  /** Whether the store already has a name, by its key. */
  readonly isStored: (key: string) => boolean;
  readonly logger: Logger;
}

interface Seen {
  readonly place: ScanPlace;
  readonly candidate: FolderCandidate;
  /** The folder's signature when it was checked; null until then. */
  checked: string | null;
  taken: FolderAdapter | null;
  error: LorikeetError | null;
}

export class FolderScan {
  readonly #options: ScanOptions;
  #seen: ReadonlyMap<string, Seen> = new Map();
  #taken: ReadonlyMap<string, FolderAdapter> = new Map();
  #refused: readonly RefusedAdapter[] = [];
  #toldUnread = false;

  constructor(options: ScanOptions) {
    this.#options = options;
  }

  /** Scans once. `eager` accepts a folder at first sight, as at startup. One call at a time. */
  async look({ eager }: { readonly eager: boolean }): Promise<void> {
    const seen = new Map<string, Seen>();
    const unread = new Map<string, unknown>();
    for (const place of this.#options.places) {
      const found = await findFolders(place.directory);
      for (const candidate of found.candidates) {
        const before = this.#seen.get(candidate.folder);
        seen.set(candidate.folder, await this.#consider(place, candidate, before, eager));
      }
      for (const [folder, cause] of found.unread) unread.set(folder, cause);
    }
    for (const [folder, before] of this.#seen) {
      if (seen.has(folder)) continue;
      if (unread.has(folder) || unread.has(dirname(folder))) seen.set(folder, before);
      else if (before.taken)
        this.#options.logger.info({ adapter: before.candidate.name }, "An adapter's folder was removed.");
    }
    this.#tellUnread(unread);
    this.#seen = seen;
    this.#arrange();
  }

  /** Makes the next scan check a folder, even if its signature has not changed. */
  recheck(folder: string): void {
    const seen = this.#seen.get(folder);
    if (seen) seen.checked = null;
  }

  /** Warns once about folders that cannot be read, until all can be read again. */
  #tellUnread(unread: ReadonlyMap<string, unknown>): void {
    const [first] = unread;
    if (first && !this.#toldUnread) {
      const [folder, err] = first;
      const message = "Some folders could not be read; their last known state stays in use until they can.";
      this.#options.logger.warn({ folder, folders: unread.size, err }, message);
    }
    this.#toldUnread = first !== undefined;
  }

  /** By the name's key. */
  get taken(): ReadonlyMap<string, FolderAdapter> {
    return this.#taken;
  }

  get refused(): readonly RefusedAdapter[] {
    return this.#refused;
  }

  async #consider(
    place: ScanPlace,
    candidate: FolderCandidate,
    before: Seen | undefined,
    eager: boolean,
  ): Promise<Seen> {
    const { signature } = candidate;
    const taken = before?.taken ?? null;
    const error = before?.error ?? null;
    const seen: Seen = { place, candidate, checked: before?.checked ?? null, taken, error };
    if (before?.checked === signature) return seen;
    const settled = eager || before?.candidate.signature === signature;
    if (settled) await this.#check(seen);
    return seen;
  }

  async #check(seen: Seen): Promise<void> {
    const { name, folder, signature, changedAt } = seen.candidate;
    const { base: own } = seen.place;
    const { check, bases, reserved, logger } = this.#options;
    const before = seen.taken;
    seen.checked = signature;
    seen.taken = null;
    seen.error = nameFault(name, reserved);
    if (seen.error === null) {
      try {
        const { summary, base = bases[0].name } = await check(folder, { base: own });
        const source = own === null ? "folder" : "base";
        seen.taken = { folder, record: { ...summary, name, base, source, createdAt: Math.round(changedAt) } };
        logger.info({ adapter: name, digest: summary.digest }, "Found an adapter in a folder.");
        return;
      } catch (cause) {
        seen.error = asFault(cause, `The folder ${folder} could not be checked.`);
      }
    }
    logger.warn({ adapter: name, code: seen.error.code }, seen.error.message);
    if (!isPassing(seen.error)) return;
    seen.checked = null; // our failure, not the folder's: keep its last state and check it again
    seen.taken = before;
    if (before) seen.error = null;
  }

  /** Assigns each name to one folder. Names must differ in more than case, and stored adapters take precedence. */
  #arrange(): void {
    const taken = new Map<string, FolderAdapter>();
    const refused: RefusedAdapter[] = [];
    for (const { candidate, taken: adapter, error } of this.#seen.values()) {
      const { name } = candidate;
      if (error) refused.push({ name, error });
      if (!adapter) continue;
      const key = nameKey(name);
      const other = taken.get(key);
      if (other) refused.push({ name, error: folderNameTaken(name, other.record.name) });
      else if (this.#options.isStored(key)) refused.push({ name, error: folderNameTaken(name, null) });
      else taken.set(key, adapter);
    }
    this.#taken = taken;
    this.#refused = refused;
  }
}

/** Whether an error says nothing about the adapter and may be gone at the next scan. */
export function isPassing({ code }: LorikeetError): boolean {
  return code === "internal" || code === "no_file_handles";
}

export function asFault(cause: unknown, message: string): LorikeetError {
  return cause instanceof LorikeetError ? cause : new LorikeetError("internal", message, { cause });
}
