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
import { folderNameTaken, folderUnread, type NamedFolder } from "./faults.js";
import { type FolderCandidate, findFolders, type UnreadFolder } from "./folders.js";

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
  /** Of equal names, the first place's is served. If that one is refused, none is. */
  readonly places: readonly ScanPlace[];
  readonly check: CheckFolder;
  readonly bases: readonly [StoreBase, ...StoreBase[]];
  /** Names that no adapter may have. */
  readonly reserved: readonly string[];
  /** The name that the store has under a key. */
  readonly storedName: (key: string) => string | undefined;
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
  /** By place and folder. Two places may be one directory. */
  #seen: ReadonlyMap<ScanPlace, ReadonlyMap<string, Seen>> = new Map();
  #taken: ReadonlyMap<string, FolderAdapter> = new Map();
  #refused: readonly RefusedAdapter[] = [];
  #toldUnread = false;
  /** Messages about taken names that are already in the log, each with the name. */
  #toldTaken: ReadonlyMap<string, string> = new Map();

  constructor(options: ScanOptions) {
    this.#options = options;
  }

  /** Scans once. `eager` accepts a folder at first sight, as at startup. One call at a time. */
  async look({ eager }: { readonly eager: boolean }): Promise<void> {
    const seen = new Map<ScanPlace, Map<string, Seen>>();
    const unread: UnreadFolder[] = [];
    for (const place of this.#options.places) {
      const found = await findFolders(place.directory);
      const before = this.#seen.get(place) ?? new Map<string, Seen>();
      const now = new Map<string, Seen>();
      for (const candidate of found.candidates) {
        const known = before.get(candidate.folder);
        now.set(candidate.folder, await this.#consider(place, candidate, known, eager));
      }
      this.#keepUnread(place, found.unread, before, now);
      seen.set(place, now);
      unread.push(...found.unread);
    }
    this.#tellUnread(unread);
    this.#seen = seen;
    this.#arrange();
  }

  /** Adds folders that cannot be read to those found: in their last known state, or refused if they were never seen. */
  #keepUnread(
    place: ScanPlace,
    unread: readonly UnreadFolder[],
    before: ReadonlyMap<string, Seen>,
    now: Map<string, Seen>,
  ): void {
    const left = new Map(unread.map((item) => [item.folder, item]));
    for (const [folder, known] of before) {
      if (now.has(folder)) continue;
      const blocking = left.has(folder) ? folder : dirname(folder);
      if (unread.some((item) => item.folder === blocking)) {
        now.set(folder, known);
        left.delete(blocking);
      } else if (known.taken) {
        this.#options.logger.info({ adapter: known.candidate.name }, "An adapter's folder was removed.");
      }
    }
    for (const { name, folder, cause } of left.values()) {
      const candidate = { name, folder, signature: "", changedAt: 0 };
      now.set(folder, { place, candidate, checked: null, taken: null, error: folderUnread(name, cause) });
    }
  }

  /** Makes the next scan check a folder, even if its signature has not changed. */
  recheck(folder: string): void {
    for (const folders of this.#seen.values()) {
      const seen = folders.get(folder);
      if (seen) seen.checked = null;
    }
  }

  /** Warns once about folders that cannot be read, until all can be read again. */
  #tellUnread(unread: readonly UnreadFolder[]): void {
    const [first] = unread;
    if (first && !this.#toldUnread) {
      const { folder, cause: err } = first;
      const message = "Some folders could not be read; their last known state stays in use until they can.";
      this.#options.logger.warn({ folder, folders: unread.length, err }, message);
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

  /**
   * Assigns each name to one folder. Names must differ in more than case, and stored adapters take precedence. A refused folder keeps its
   * name from later places: a fault in an operator's adapter must not bring another one into use.
   */
  #arrange(): void {
    const taken = new Map<string, FolderAdapter>();
    const refused: RefusedAdapter[] = [];
    const holders = new Map<string, NamedFolder>();
    const takenNames = new Map<string, string>();
    for (const [{ base }, folders] of this.#seen) {
      const faulty: NamedFolder[] = [];
      for (const { candidate, taken: adapter, error } of [...folders.values()].sort(byName)) {
        const folder = { name: candidate.name, base };
        if (error) {
          refused.push({ name: folder.name, error });
          faulty.push(folder);
        }
        if (!adapter) continue;
        const fault = this.#nameTaken(folder, holders);
        if (fault) {
          refused.push({ name: folder.name, error: fault });
          takenNames.set(fault.message, folder.name);
        } else {
          taken.set(nameKey(folder.name), adapter);
          holders.set(nameKey(folder.name), folder);
        }
      }
      // Within one place, a sound folder comes before a faulty one.
      for (const folder of faulty) if (!holders.has(nameKey(folder.name))) holders.set(nameKey(folder.name), folder);
    }
    this.#taken = taken;
    this.#refused = refused;
    this.#tellTaken(takenNames);
  }

  #nameTaken(folder: NamedFolder, holders: ReadonlyMap<string, NamedFolder>): LorikeetError | null {
    const key = nameKey(folder.name);
    const holder = holders.get(key);
    if (holder) return folderNameTaken(folder, holder, "folder");
    const stored = this.#options.storedName(key);
    return stored === undefined ? null : folderNameTaken(folder, { name: stored, base: null }, "upload");
  }

  /** Warns about each folder whose name is taken, once for as long as it is. `names`: by message. */
  #tellTaken(names: ReadonlyMap<string, string>): void {
    for (const [message, adapter] of names) {
      if (!this.#toldTaken.has(message)) this.#options.logger.warn({ adapter, code: "conflict" }, message);
    }
    this.#toldTaken = names;
  }
}

const byName = ({ candidate: left }: Seen, { candidate: right }: Seen): number => (left.name < right.name ? -1 : 1);

/** Whether an error says nothing about the adapter and may be gone at the next scan. */
export function isPassing({ code }: LorikeetError): boolean {
  return code === "internal" || code === "no_file_handles";
}

export function asFault(cause: unknown, message: string): LorikeetError {
  return cause instanceof LorikeetError ? cause : new LorikeetError("internal", message, { cause });
}
