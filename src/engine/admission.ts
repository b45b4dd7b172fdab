/**
 * From the queue to a slot: leases the adapter, finds it a place in the bank, and never holds the queue up for a slow disk.
 * Those whose adapter is leased stand in one line for the bank, so that a large adapter gets its turn among small ones.
 */
import type { AdapterSource, HostAdapter } from "../adapter/types.js";
import { assert, LorikeetError } from "../base/errors.js";
import type { AdapterBank } from "./bank.js";
import type { Sequence } from "./sequence.js";
import type { Slots } from "./slots.js";
import type { EngineObserver } from "./types.js";

export interface AdmissionOptions {
  readonly slots: Slots<Sequence>;
  readonly bank: AdapterBank;
  readonly adapters: AdapterSource | null;
  /** Awaited before an adapter of DoRA gets its place. */
  readonly prepare: (adapter: HostAdapter) => Promise<void>;
  readonly observer: EngineObserver;
  readonly now: () => number;
  /** Called when a sequence may run. */
  readonly admitted: (sequence: Sequence) => void;
  readonly failed: (sequence: Sequence, error: Error) => void;
}

export class Admission {
  readonly #options: AdmissionOptions;
  readonly #waiting: Sequence[] = [];
  readonly #loading = new Set<Sequence>();
  /** Leased, in line for a place in the bank. */
  readonly #line: Sequence[] = [];
  #placing = false;
  /** Counts what may have made room in the bank. */
  #releases = 0;

  constructor(options: AdmissionOptions) {
    this.#options = options;
  }

  get waiting(): readonly Sequence[] {
    return this.#waiting;
  }

  get loading(): ReadonlySet<Sequence> {
    return this.#loading;
  }

  enqueue(sequence: Sequence): void {
    this.#waiting.push(sequence);
    if (sequence.request.adapter !== null) this.#options.adapters?.prefetch(sequence.request.adapter);
  }

  /** Gives free slots to the longest waiting. */
  admit(): void {
    while (this.#waiting.length > 0) {
      const sequence = this.#waiting[0] as Sequence;
      const slot = this.#options.slots.acquire(sequence);
      if (slot === null) return;
      this.#waiting.shift();
      sequence.slot = slot;
      if (sequence.request.adapter === null) {
        this.#options.admitted(sequence);
        continue;
      }
      sequence.phase = "loading";
      this.#loading.add(sequence);
      void this.#load(sequence, sequence.request.adapter);
    }
  }

  /** To be called whenever a sequence has left: whoever stands in line for the bank may have room, or be first, now. */
  retry(): void {
    this.#releases++;
    void this.#serveLine();
  }

  /** Forgets a sequence, wherever it waits. Its slot and holds are the caller's to release. */
  remove(sequence: Sequence): void {
    takeOut(this.#waiting, sequence);
    takeOut(this.#line, sequence);
    this.#loading.delete(sequence);
  }

  async #load(sequence: Sequence, digest: string): Promise<void> {
    const { adapters, observer } = this.#options;
    try {
      if (!adapters) throw new LorikeetError("adapter_not_found", `No adapter can be loaded: asked for ${digest}.`);
      const lease = await adapters.acquire(digest);
      if (sequence.phase === "finished") {
        lease.release();
        return;
      }
      sequence.lease = lease; // given back with all that the sequence holds, whatever comes
      if (lease.adapter.dora) await this.#options.prepare(lease.adapter);
      if (this.#ended(sequence)) return;
      observer.adapterLoaded?.({ digest, from: lease.from, seconds: lease.loadMs / 1000 });
      this.#line.push(sequence);
      await this.#serveLine();
    } catch (error) {
      this.#fail(sequence, error);
    }
  }

  /** Places the first in line, and the next, until one finds no room. One call at a time works; the others leave it to that one. */
  async #serveLine(): Promise<void> {
    if (this.#placing) return;
    this.#placing = true;
    try {
      for (let first = this.#line[0]; first; first = this.#line[0]) {
        const seen = this.#releases;
        const isPlaced = await this.#place(first);
        // Room that was made while the bank was asked would otherwise be noticed by nobody.
        if (!isPlaced && seen === this.#releases) return;
      }
    } finally {
      this.#placing = false;
    }
  }

  /** false: no room before somebody leaves. */
  async #place(sequence: Sequence): Promise<boolean> {
    try {
      assert(sequence.lease, "a sequence in line for the bank has its adapter leased");
      const hold = await this.#options.bank.acquire(sequence.lease.adapter);
      if (this.#ended(sequence)) {
        hold?.release();
        return true;
      }
      if (!hold) return false;
      sequence.hold = hold;
      this.remove(sequence);
      this.#options.admitted(sequence);
    } catch (error) {
      this.#fail(sequence, error);
    }
    return true;
  }

  /** Read through a call, since the phase may change while an adapter loads. */
  #ended(sequence: Sequence): boolean {
    return sequence.phase === "finished";
  }

  #fail(sequence: Sequence, error: unknown): void {
    if (this.#ended(sequence)) return;
    this.#options.failed(sequence, error instanceof Error ? error : new Error(String(error)));
  }
}

function takeOut(list: Sequence[], sequence: Sequence): void {
  const at = list.indexOf(sequence);
  if (at >= 0) list.splice(at, 1);
}
