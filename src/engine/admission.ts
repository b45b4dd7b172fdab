/** From the queue to a slot: leases the adapter, finds it a place in the bank, and never holds the line up for a slow disk. */
import type { AdapterSource } from "../adapter/types.js";
import { LorikeetError } from "../base/errors.js";
import type { AdapterBank } from "./bank.js";
import type { Sequence } from "./sequence.js";
import type { Slots } from "./slots.js";
import type { EngineObserver } from "./types.js";

export interface AdmissionOptions {
  readonly slots: Slots<Sequence>;
  readonly bank: AdapterBank;
  readonly adapters: AdapterSource | null;
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
  /** Leased, but without room in the bank until somebody leaves. */
  readonly #blocked = new Set<Sequence>();

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

  /** Tries again for those that wait for room in the bank: called whenever a hold was released. */
  retry(): void {
    const blocked = [...this.#blocked];
    this.#blocked.clear();
    for (const sequence of blocked) void this.#place(sequence);
  }

  /** Takes a sequence that is not running out of the line. Its slot and holds are the caller's to release. */
  remove(sequence: Sequence): void {
    const at = this.#waiting.indexOf(sequence);
    if (at >= 0) this.#waiting.splice(at, 1);
    this.#loading.delete(sequence);
    this.#blocked.delete(sequence);
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
      sequence.lease = lease;
      observer.adapterLoaded?.({ digest, from: lease.from, seconds: lease.loadMs / 1000 });
      await this.#place(sequence);
    } catch (error) {
      this.#fail(sequence, error);
    }
  }

  async #place(sequence: Sequence): Promise<void> {
    try {
      if (sequence.phase === "finished" || !sequence.lease) return;
      const hold = await this.#options.bank.acquire(sequence.lease.adapter);
      if (this.#ended(sequence)) {
        hold?.release();
        return;
      }
      if (!hold) {
        this.#blocked.add(sequence);
        return;
      }
      sequence.hold = hold;
      this.#loading.delete(sequence);
      this.#options.admitted(sequence);
    } catch (error) {
      this.#fail(sequence, error);
    }
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
