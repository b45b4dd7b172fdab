/**
 * The host tier: adapters in memory, bounded by bytes. Loads are single-flight and run at most two at a time. A leased or pinned adapter
 * is never evicted. Knows no names and no files, and is the only file that uses lru-cache.
 *
 * Accounting: `used` = held + idle + loading, and never exceeds `maxBytes`. Held adapters are leased or pinned. Idle ones can be evicted,
 * and only they are in the LRU. Requests without room wait in one queue, in order. Requests for an adapter in memory do not wait.
 */

import { LRUCache } from "lru-cache";
import { type Deferred, deferred, Semaphore } from "../../base/async.js";
import { assert, LorikeetError } from "../../base/errors.js";
import { silent } from "../../base/log.js";
import type { AdapterLease, AdapterSource, HostAdapter } from "../types.js";
import { digestUnknown, neverFits, pinLeavesTooLittle } from "./faults.js";
import type { Cacheable, CachedState, CacheOptions, CacheStats } from "./types.js";

export * from "./types.js";

const maxLoads = 2;
const wantedMs = 30_000; // how long other prefetches do not evict a prefetched adapter

interface Resident<Held> {
  readonly adapter: Held;
  readonly bytes: number;
  leases: number;
  /** Dropped with its last lease. */
  doomed: boolean;
  wantedUntil: number;
}

/** A load that waits for room or is running, with the requests that will lease the adapter. */
interface Ticket<Held> {
  readonly digest: string;
  bytes: number;
  readonly takers: Deferred<AdapterLease<Held>>[];
  doomed: boolean;
  wantedUntil: number;
}

export class AdapterCache<Held extends Cacheable = HostAdapter> implements AdapterSource<Held> {
  readonly #options: CacheOptions<Held>;
  readonly #now: () => number;
  readonly #idle: LRUCache<string, Resident<Held>>;
  readonly #held = new Map<string, Resident<Held>>();
  readonly #flights = new Map<string, Ticket<Held>>();
  readonly #line: Ticket<Held>[] = [];
  /** Bytes by digest, including adapters that are not loaded yet. */
  readonly #pins = new Map<string, number>();
  /** Real sizes of adapters that are larger than announced. */
  readonly #measured = new Map<string, number>();
  readonly #loads = new Semaphore(maxLoads);
  #used = 0;
  #hits = 0;
  #misses = 0;
  #evictions = 0;
  #leases = 0;

  constructor(options: CacheOptions<Held>) {
    assert(Number.isSafeInteger(options.maxBytes) && options.maxBytes > 0, "the cache's size is a positive integer");
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    this.#idle = new LRUCache({ maxSize: options.maxBytes });
  }

  /**
   * Leases an adapter from memory or disk, and waits for room if necessary. Rejects with `adapter_not_found`,
   * `adapter_too_large`, or what loading throws.
   */
  async acquire(digest: string): Promise<AdapterLease<Held>> {
    const resident = this.#resident(digest);
    if (resident) {
      this.#hits++;
      this.#options.observer?.hit?.(digest);
      return this.#lease(resident, "host", 0);
    }
    this.#misses++;
    this.#options.observer?.miss?.(digest);
    const taker = deferred<AdapterLease<Held>>();
    const ticket = this.#flights.get(digest) ?? this.#line.find((waiting) => waiting.digest === digest);
    if (ticket) ticket.takers.push(taker);
    else {
      this.#line.push({ digest, bytes: this.#bytes(digest), takers: [taker], doomed: false, wantedUntil: 0 });
      this.#advance();
    }
    return taker.promise;
  }

  /** Starts a load if there is room without evicting adapters that will be needed sooner. Never throws. */
  prefetch(digest: string): void {
    const wantedUntil = this.#now() + wantedMs;
    const resident = this.#resident(digest);
    if (resident) resident.wantedUntil = wantedUntil;
    const bytes = this.#knownBytes(digest);
    if (resident || bytes === undefined || this.#flights.has(digest) || this.#line.length > 0) return;
    if (!this.#makeRoom(bytes, { sparing: true })) return;
    this.#fly({ digest, bytes, takers: [], doomed: false, wantedUntil });
  }

  /** Loads an adapter and keeps it in memory. Rejects with `conflict` if that leaves less room than the largest other adapter needs. */
  async pin(digest: string): Promise<void> {
    if (!this.#pins.has(digest)) {
      const bytes = this.#bytes(digest);
      const room = this.#options.maxBytes - this.#pinnedBytes() - bytes;
      const largest = this.#options.sizes.largestBytes(new Set([...this.#pins.keys(), digest]));
      if (room < largest) throw pinLeavesTooLittle(bytes, room, largest);
      this.#pins.set(digest, bytes);
    }
    try {
      const lease = await this.acquire(digest);
      const resident = this.#resident(digest);
      if (resident) resident.doomed = false;
      lease.release();
    } catch (cause) {
      this.unpin(digest);
      throw cause;
    }
  }

  unpin(digest: string): void {
    if (!this.#pins.delete(digest)) return;
    const resident = this.#held.get(digest);
    if (resident?.leases === 0) this.#settle(resident);
  }

  /** Drops an adapter that no longer has a name: at once, or with its last lease. */
  forget(digest: string): void {
    this.#measured.delete(digest);
    const flight = this.#flights.get(digest);
    if (flight) flight.doomed = true;
    const resident = this.#resident(digest);
    if (resident) resident.doomed = true;
    this.unpin(digest);
    if (this.#idle.has(digest)) this.#drop(digest);
    this.#advance();
  }

  /** Throws `adapter_too_large` for an adapter that would not fit even if nothing else were leased. */
  assertFits(digest: string, bytes: number): void {
    const room = this.#roomFor(digest);
    if (bytes > room) throw neverFits(bytes, room, this.#options.maxBytes);
  }

  state(digest: string): CachedState {
    const resident = this.#held.get(digest) ?? this.#idle.peek(digest);
    return { resident: resident !== undefined, pinned: this.#pins.has(digest), leases: resident?.leases ?? 0 };
  }

  stats(): CacheStats {
    let leased = 0;
    for (const resident of this.#held.values()) if (resident.leases > 0) leased++;
    return {
      maxBytes: this.#options.maxBytes,
      bytes: this.#used,
      entries: this.#held.size + this.#idle.size,
      hits: this.#hits,
      misses: this.#misses,
      evictions: this.#evictions,
      leased,
      pinned: this.#pins.size,
      loading: this.#flights.size,
      waiting: this.#line.length,
    };
  }

  /** Checks the accounting. Throws `internal` if it is wrong. */
  check(): void {
    let held = 0;
    let leases = 0;
    for (const [digest, resident] of this.#held) {
      held += resident.bytes;
      leases += resident.leases;
      assert(resident.leases > 0 || this.#pins.has(digest), `${digest} is held because it is leased or pinned`);
      assert(!this.#idle.has(digest) && !this.#flights.has(digest), `${digest} is in one place`);
    }
    for (const [digest, resident] of this.#idle.entries()) {
      assert(resident.leases === 0 && !this.#pins.has(digest), `${digest} is idle because nobody needs it`);
      assert(!resident.doomed && !this.#flights.has(digest), `${digest} is idle, not doomed or loading`);
    }
    let flying = 0;
    for (const flight of this.#flights.values()) flying += flight.bytes;
    assert(held + this.#idle.calculatedSize + flying === this.#used, "held + idle + loading = used");
    assert(this.#used <= this.#options.maxBytes, "used is within the bound");
    assert(leases === this.#leases, "every lease is counted once");
    const first = this.#line[0];
    const blocked = !first || this.#used - this.#idle.calculatedSize + first.bytes > this.#options.maxBytes;
    assert(blocked, "the head of the queue waits only for room");
  }

  #resident(digest: string): Resident<Held> | undefined {
    return this.#held.get(digest) ?? this.#idle.get(digest);
  }

  #lease(resident: Resident<Held>, from: "host" | "disk", loadMs: number): AdapterLease<Held> {
    const { adapter } = resident;
    this.#idle.delete(adapter.digest);
    this.#held.set(adapter.digest, resident);
    resident.leases++;
    resident.wantedUntil = 0;
    this.#leases++;
    let released = false;
    const release = (): void => {
      if (released) return;
      released = true;
      resident.leases--;
      this.#leases--;
      if (resident.leases === 0) this.#settle(resident);
    };
    return { adapter, from, loadMs, release };
  }

  /** Makes an adapter without leases idle or drops it, and advances the queue. */
  #settle(resident: Resident<Held>): void {
    const { digest } = resident.adapter;
    if (this.#pins.has(digest)) this.#held.set(digest, resident);
    else {
      this.#held.delete(digest);
      if (resident.doomed) this.#used -= resident.bytes;
      else this.#idle.set(digest, resident, { size: resident.bytes });
    }
    this.#advance();
  }

  /** Starts loads from the head of the queue while there is room. */
  #advance(): void {
    for (;;) {
      const first = this.#line[0];
      if (!first) return;
      const room = this.#roomFor(first.digest);
      if (first.bytes <= room && !this.#makeRoom(first.bytes, { sparing: false })) return;
      this.#line.shift();
      if (first.bytes <= room) this.#fly(first);
      else for (const taker of first.takers) taker.reject(neverFits(first.bytes, room, this.#options.maxBytes));
    }
  }

  /** Evicts idle adapters, least recently used first, until `bytes` are free. Evicts none if that is not possible. */
  #makeRoom(bytes: number, { sparing }: { readonly sparing: boolean }): boolean {
    let missing = this.#used + bytes - this.#options.maxBytes;
    if (missing <= 0) return true;
    const now = this.#now();
    const isWanted = (digest: string): boolean => (this.#idle.peek(digest)?.wantedUntil ?? 0) > now;
    const oldestFirst = [...this.#idle.rkeys()];
    const plain = oldestFirst.filter((digest) => !isWanted(digest));
    const wanted = sparing ? [] : oldestFirst.filter(isWanted);
    const victims: string[] = [];
    for (const digest of [...plain, ...wanted]) {
      if (missing <= 0) break;
      victims.push(digest);
      missing -= this.#idle.peek(digest)?.bytes ?? 0;
    }
    if (missing > 0) return false;
    for (const digest of victims) {
      this.#drop(digest);
      this.#evictions++;
      this.#options.observer?.evicted?.(digest);
    }
    return true;
  }

  #drop(digest: string): void {
    this.#used -= this.#idle.peek(digest)?.bytes ?? 0;
    this.#idle.delete(digest);
  }

  /** Loads into reserved room. */
  #fly(ticket: Ticket<Held>): void {
    this.#flights.set(ticket.digest, ticket);
    this.#used += ticket.bytes;
    void this.#loads
      .run(async () => {
        const started = this.#now();
        const adapter = await this.#options.load(ticket.digest);
        return { adapter, loadMs: this.#now() - started };
      })
      .then(
        ({ adapter, loadMs }) => this.#land(ticket, adapter, loadMs),
        (cause: unknown) => this.#fail(ticket, cause),
      );
  }

  #land(ticket: Ticket<Held>, adapter: Held, loadMs: number): void {
    const { digest, takers, doomed, wantedUntil } = ticket;
    const bytes = Math.max(1, Math.ceil(adapter.bytes));
    if (adapter.digest !== digest) {
      const message = `Loading ${digest} brought ${adapter.digest}.`;
      this.#fail(ticket, new LorikeetError("digest_mismatch", message, { found: adapter.digest, allowed: digest }));
      return;
    }
    this.#options.observer?.loaded?.({ digest, bytes, seconds: loadMs / 1000 });
    this.#flights.delete(digest);
    this.#used -= ticket.bytes;
    if (this.#pins.has(digest)) this.#pins.set(digest, bytes);
    if (bytes > ticket.bytes && !this.#makeRoom(bytes, { sparing: false })) {
      this.#measured.set(digest, bytes);
      if (takers.length > 0) this.#line.unshift({ ...ticket, bytes }); // larger than announced: retry with its real size
      this.#advance();
      return;
    }
    this.#used += bytes;
    const resident: Resident<Held> = { adapter, bytes, leases: 0, doomed, wantedUntil };
    const leases = takers.map(() => this.#lease(resident, "disk", loadMs));
    if (takers.length === 0) this.#settle(resident);
    else this.#advance(); // it may be smaller than the reserved room
    takers.forEach((taker, index) => {
      const lease = leases[index];
      if (lease) taker.resolve(lease);
    });
  }

  #fail(ticket: Ticket<Held>, cause: unknown): void {
    this.#flights.delete(ticket.digest);
    this.#used -= ticket.bytes;
    if (ticket.takers.length === 0) {
      (this.#options.logger ?? silent).debug(
        { digest: ticket.digest, err: cause },
        "A prefetched adapter could not be loaded.",
      );
    }
    for (const taker of ticket.takers) taker.reject(cause);
    this.#advance();
  }

  #knownBytes(digest: string): number | undefined {
    const bytes = this.#measured.get(digest) ?? this.#options.sizes.bytesOf(digest);
    return bytes === undefined ? undefined : Math.max(1, Math.ceil(bytes));
  }

  /** Throws `adapter_not_found` or `adapter_too_large`. */
  #bytes(digest: string): number {
    const bytes = this.#knownBytes(digest);
    if (bytes === undefined) throw digestUnknown(digest);
    const room = this.#roomFor(digest);
    if (bytes > room) throw neverFits(bytes, room, this.#options.maxBytes);
    return bytes;
  }

  /** The capacity minus what is pinned for other adapters. */
  #roomFor(digest: string): number {
    return this.#options.maxBytes - this.#pinnedBytes() + (this.#pins.get(digest) ?? 0);
  }

  #pinnedBytes(): number {
    let bytes = 0;
    for (const pinned of this.#pins.values()) bytes += pinned;
    return bytes;
  }
}
