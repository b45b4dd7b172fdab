/** Which records there are, how large and how old, and which must go. Holds no text. */
import type { RecordBounds, RecordKey } from "./store.js";

interface Entry extends RecordKey {
  readonly bytes: number;
  readonly createdAt: number;
}

/** One owner's records, oldest first. */
interface Account {
  bytes: number;
  readonly entries: Map<string, Entry>;
}

export class Ledger {
  readonly #bounds: RecordBounds;
  readonly #accounts = new Map<string, Account>();
  #records = 0;
  #bytes = 0;

  constructor(bounds: RecordBounds) {
    this.#bounds = bounds;
  }

  get records(): number {
    return this.#records;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get({ owner, id }: RecordKey): Entry | null {
    return this.#accounts.get(owner)?.entries.get(id) ?? null;
  }

  /** Adds a record, or changes the size of one, which keeps its age. Records are added in the order of their age. */
  set({ owner, id }: RecordKey, bytes: number, createdAt: number): void {
    const account = this.#accounts.get(owner) ?? { bytes: 0, entries: new Map<string, Entry>() };
    this.#accounts.set(owner, account);
    const known = account.entries.get(id);
    account.entries.set(id, { owner, id, bytes, createdAt: known?.createdAt ?? createdAt });
    account.bytes += bytes - (known?.bytes ?? 0);
    this.#bytes += bytes - (known?.bytes ?? 0);
    if (!known) this.#records++;
  }

  remove(key: RecordKey): void {
    const account = this.#accounts.get(key.owner);
    const entry = account?.entries.get(key.id);
    if (!account || !entry) return;
    account.entries.delete(key.id);
    account.bytes -= entry.bytes;
    this.#bytes -= entry.bytes;
    this.#records--;
    if (account.entries.size === 0) this.#accounts.delete(key.owner);
  }

  /** Removes and returns the records that are too old, then those past a bound: the oldest of the owner that takes the most of what is short. */
  settle(now: number): Entry[] {
    const dropped: Entry[] = [];
    const drop = (entry: Entry | null): void => {
      if (!entry) return;
      this.remove(entry);
      dropped.push(entry);
    };
    for (const entry of this.#expired(now)) drop(entry);
    const { maxRecords, maxBytes } = this.#bounds;
    while (this.#records > maxRecords) drop(this.#oldestOfLargest(({ entries }) => entries.size));
    while (this.#bytes > maxBytes) drop(this.#oldestOfLargest(({ bytes }) => bytes));
    return dropped;
  }

  #expired(now: number): Entry[] {
    const expired: Entry[] = [];
    for (const { entries } of this.#accounts.values()) {
      for (const entry of entries.values()) {
        if (now - entry.createdAt < this.#bounds.maxAgeMs) break;
        expired.push(entry);
      }
    }
    return expired;
  }

  #oldestOfLargest(sizeOf: (account: Account) => number): Entry | null {
    let largest: Account | null = null;
    for (const account of this.#accounts.values()) {
      if (largest === null || sizeOf(account) > sizeOf(largest)) largest = account;
    }
    return largest?.entries.values().next().value ?? null;
  }
}
