/**
 * The names that are served, of stored versions and of operators' folders, and what the observer knows of them. A stored name
 * hides a folder's. Changes nothing on disk.
 */

import type { LockTurn } from "../../base/lock.js";
import { nameKey } from "../names.js";
import type { AdapterRecord } from "../types.js";
import type { Holds } from "./holds.js";
import type { FolderScan, RefusedAdapter } from "./scan.js";
import type { StoredAdapters } from "./stored.js";
import type { StoreObserver } from "./types.js";

export interface ServedNamesParts {
  readonly stored: StoredAdapters;
  readonly scan: FolderScan;
  readonly holds: Holds;
  readonly observer: StoreObserver;
}

export class ServedNames {
  readonly #parts: ServedNamesParts;
  /** The records last announced to the observer, by the name's key. */
  readonly #announced = new Map<string, AdapterRecord>();
  /** The number of names for each digest of weights. */
  readonly #namedWeights = new Map<string, number>();

  constructor(parts: ServedNamesParts) {
    this.#parts = parts;
  }

  /** Sorted by name. */
  list(): AdapterRecord[] {
    const { stored, scan } = this.#parts;
    const folders = [...scan.taken].filter(([key]) => !stored.has(key)).map(([, { record }]) => record);
    return [...folders, ...stored.records()].sort((left, right) => (left.name < right.name ? -1 : 1));
  }

  /** The adapter of exactly this name, or null. */
  resolve(name: string): AdapterRecord | null {
    const record = this.#record(nameKey(name));
    return record?.name === name ? record : null;
  }

  refused(): readonly RefusedAdapter[] {
    return [...this.#parts.stored.refused, ...this.#parts.scan.refused];
  }

  /** Whether a name points at a version with these weights. */
  isNamed(weightsDigest: string): boolean {
    return this.#namedWeights.has(weightsDigest);
  }

  /** Reads other processes' changes and reports them; pass `turn` if the lock is held. Returns the keys of changed names. */
  async refresh(turn: LockTurn | null): Promise<Set<string>> {
    const changed = await this.#parts.stored.refresh(turn);
    this.announce(changed);
    return changed;
  }

  /** Reads this process's changes in a turn that it still holds, and reports them. */
  async refreshOwn(turn: LockTurn): Promise<void> {
    this.announce(await this.#parts.stored.refreshOwn(turn));
  }

  announceAll(): void {
    this.announce(this.list().map((record) => nameKey(record.name)));
  }

  /** Reports the names under these keys whose digest or base has changed since the last report. */
  announce(keys: Iterable<string>): void {
    const { named, unnamed } = this.#parts.observer;
    const gone: AdapterRecord[] = [];
    const come: AdapterRecord[] = [];
    for (const key of new Set(keys)) {
      const before = this.#announced.get(key);
      const now = this.#record(key);
      if (before?.name === now?.name && before?.digest === now?.digest && before?.base === now?.base) continue;
      if (before) gone.push(before);
      if (now) come.push(now);
      if (now) this.#announced.set(key, now);
      else this.#announced.delete(key);
    }
    for (const record of come) this.#count(record, 1);
    for (const record of gone) this.#count(record, -1);
    for (const record of gone) unnamed?.(record);
    for (const record of come) named?.(record);
    for (const weightsDigest of new Set(gone.map((record) => record.weightsDigest))) this.tellUnwanted(weightsDigest);
  }

  /** Reports a digest that has lost its last name or its last hold, unless the other one remains. */
  tellUnwanted(weightsDigest: string): void {
    if (this.isNamed(weightsDigest) || this.#parts.holds.isComputing(weightsDigest)) return;
    this.#parts.observer.unwanted?.(weightsDigest);
  }

  #record(key: string): AdapterRecord | null | undefined {
    const { stored, scan } = this.#parts;
    return stored.has(key) ? stored.record(key) : scan.taken.get(key)?.record;
  }

  #count({ weightsDigest }: AdapterRecord, by: number): void {
    const count = (this.#namedWeights.get(weightsDigest) ?? 0) + by;
    if (count > 0) this.#namedWeights.set(weightsDigest, count);
    else this.#namedWeights.delete(weightsDigest);
  }
}
