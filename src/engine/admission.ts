/**
 * Moves sequences from the queue to slots: adapters take turns, and the next sequence's adapter is leased and placed in the bank. A
 * sequence that cannot start yet, because of a slow disk or a full bank, does not delay the others.
 */
import type { AdapterSource, HostAdapter } from "../adapter/types.js";
import { assert, LorikeetError } from "../base/errors.js";
import { FairQueue } from "../base/fair-queue.js";
import type { BankHold } from "./adapters/bank.js";
import type { Sequence } from "./sequence.js";
import type { Slots } from "./slots.js";
import type { ActiveSet, AdapterHold } from "./steps.js";
import type { EngineLimits, EngineObserver, EngineRequest } from "./types.js";

// The cost of a sequence to its adapter's turn, in generated tokens. Prompts count too, or long ones would be free: two of
// their tokens as one, since a chunk computes them about twice as fast as a full batch generates.

/** Tokens per turn, and the minimum cost of a sequence, since its slot, its place and its first step are not free. */
const turnTokens = 8;
/** The maximum cost charged in advance, whatever `maxTokens` allows: most sequences end sooner, and further tokens are charged as they are generated. */
const mostExpected = 64;

const promptCost = (promptTokens: number): number => Math.ceil(promptTokens / 2);

const expectedCost = (promptTokens: number, maxTokens: number): number =>
  promptCost(promptTokens) + Math.min(maxTokens, mostExpected);

export interface AdmissionOptions<Held, Hold extends AdapterHold> {
  readonly slots: Slots<Sequence<Held, Hold>>;
  readonly bank: ActiveSet<Held, Hold>;
  readonly adapters: AdapterSource<Held> | null;
  readonly limits: EngineLimits;
  /** Awaited before an adapter is placed: the first adapter of some kinds needs new sessions. */
  readonly prepare: (adapter: Held, request: EngineRequest) => Promise<void>;
  readonly observer: EngineObserver;
  /** Called when a sequence may run. */
  readonly admitted: (sequence: Sequence<Held, Hold>) => void;
  readonly failed: (sequence: Sequence<Held, Hold>, error: Error) => void;
}

/** null is the base, which takes turns like an adapter. */
type Key = string | null;

export class Admission<Held = HostAdapter, Hold extends AdapterHold = BankHold> {
  readonly #options: AdmissionOptions<Held, Hold>;
  readonly #queue = new FairQueue<Key, Sequence<Held, Hold>>({ turn: turnTokens });
  /** Sequences whose turn has come and whose adapter is being loaded or placed. */
  readonly #starting = new Set<Sequence<Held, Hold>>();
  /** Those of them that are stuck: their adapter is on disk, or the bank has no room for it. They reserve no slot. */
  readonly #stuck = new Set<Sequence<Held, Hold>>();
  /** Those of them that have their lease and wait for a slot and a place in the bank. */
  readonly #line: Sequence<Held, Hold>[] = [];
  #placing = false;
  /** Counts events that may have made room in the bank. */
  #releases = 0;
  /** Adapters placed ahead of the head of the queue since it found no room. */
  #passed = 0;

  constructor(options: AdmissionOptions<Held, Hold>) {
    this.#options = options;
  }

  /** Sequences waiting for their turn. */
  get queued(): number {
    return this.#queue.size;
  }

  /** Sequences waiting for their turn or for their adapter. */
  *waiting(): IterableIterator<Sequence<Held, Hold>> {
    yield* this.#queue.waiting();
    yield* this.#starting;
  }

  /** Whether a sequence will be in a slot soon. */
  get busy(): boolean {
    return this.#queue.size > 0 || this.#claims > 0 || this.#placing;
  }

  /** Throws `queue_full` or `adapter_queue_full`. A full queue accepts a sequence of an adapter with fewer waiting ones, and drops the newest of the adapter with the most. */
  enqueue(sequence: Sequence<Held, Hold>): void {
    const { adapter, promptIds, maxTokens } = sequence.request;
    this.#makeRoom(adapter);
    const known = promptCost(promptIds.length);
    sequence.ticket = this.#queue.push(adapter, sequence, {
      known,
      expected: expectedCost(promptIds.length, maxTokens),
    });
    if (adapter !== null) this.#options.adapters?.prefetch(adapter);
  }

  #makeRoom(adapter: Key): void {
    const { maxQueue, maxAdapterQueue } = this.#options.limits;
    const { free } = this.#options.slots;
    // Sequences that will get a free slot at the next step do not count as queued.
    const own = this.#queue.waitingOf(adapter) - free;
    const queued = this.#queue.size - free;
    if (own >= maxAdapterQueue && queued < maxQueue) throw adapterQueueFull(adapter, own, maxAdapterQueue);
    if (queued < maxQueue) return;
    const fault = new LorikeetError(
      "queue_full",
      `The queue is full: ${maxQueue === 1 ? "1 request waits" : `${maxQueue} requests wait`} already.`,
      {
        found: queued,
        allowed: maxQueue,
      },
    );
    const longest = this.#queue.newestOfLongest();
    if (!longest || longest.waiting <= this.#queue.waitingOf(adapter) + 1) throw fault;
    this.#options.failed(longest.item, fault);
  }

  /** Gives free slots to the sequences whose turn it is. */
  admit(): void {
    void this.#serveLine();
    while (this.#queue.size > 0 && this.#options.slots.free > this.#claims) {
      const sequence = this.#queue.next((key) => this.#mayStart(key));
      if (!sequence) return;
      if (sequence.request.adapter === null) this.#seat(sequence);
      else {
        sequence.phase = "loading";
        this.#starting.add(sequence);
        void this.#load(sequence, sequence.request.adapter);
      }
    }
  }

  /** Call it whenever a sequence has ended: waiting ones may have room now. */
  retry(): void {
    this.#releases++;
    for (const sequence of this.#line) this.#stuck.delete(sequence);
    void this.#serveLine();
  }

  /** Removes a waiting sequence. The caller releases its slot, holds and ticket. */
  remove(sequence: Sequence<Held, Hold>): void {
    if (this.#line[0] === sequence) this.#passed = 0;
    const at = this.#line.indexOf(sequence);
    if (at >= 0) this.#line.splice(at, 1);
    this.#starting.delete(sequence);
    this.#stuck.delete(sequence);
  }

  /** Free slots that are reserved. */
  get #claims(): number {
    let claims = 0;
    for (const sequence of this.#starting) if (sequence.slot < 0 && !this.#stuck.has(sequence)) claims++;
    return claims;
  }

  /**
   * The base may always start. An adapter starts one sequence at a time until it is known to be in memory, none while that one is stuck,
   * and none ahead of a sequence that has been overtaken as often as allowed.
   */
  #mayStart(key: Key): boolean {
    if (key === null) return true;
    if (this.#starting.size >= 2 * this.#options.slots.total || this.#mustYield) return false;
    for (const sequence of this.#starting) {
      if (sequence.request.adapter === key && (sequence.lease === null || this.#stuck.has(sequence))) return false;
    }
    return true;
  }

  /** Whether the head of the queue was overtaken so often that other adapters must leave the bank to it. */
  get #mustYield(): boolean {
    return this.#passed >= this.#options.slots.total;
  }

  #seat(sequence: Sequence<Held, Hold>): void {
    const slot = this.#options.slots.acquire(sequence);
    assert(slot !== null, "a slot is free for a sequence that is admitted");
    sequence.slot = slot;
    this.#options.admitted(sequence);
  }

  async #load(sequence: Sequence<Held, Hold>, digest: string): Promise<void> {
    const { adapters, observer } = this.#options;
    // An adapter in memory is leased within this turn of the event loop.
    const slow = setImmediate(() => this.#wait(sequence));
    try {
      if (!adapters) throw new LorikeetError("adapter_not_found", `No adapter can be loaded: asked for ${digest}.`);
      const lease = await adapters.acquire(digest);
      if (this.#ended(sequence)) {
        lease.release();
        return;
      }
      sequence.lease = lease; // released with the sequence's other resources in any case
      await this.#options.prepare(lease.adapter, sequence.request);
      if (this.#ended(sequence)) return;
      observer.adapterLoaded?.({ digest, from: lease.from, seconds: lease.loadMs / 1000 });
      this.#stuck.delete(sequence);
      this.#line.push(sequence);
    } catch (error) {
      this.#fail(sequence, error);
      return;
    } finally {
      clearImmediate(slow);
    }
    this.admit();
  }

  /** Releases the slot that is reserved for this sequence. */
  #wait(sequence: Sequence<Held, Hold>): void {
    if (!this.#starting.has(sequence)) return;
    this.#stuck.add(sequence);
    this.admit();
  }

  /** Places waiting sequences in order, skipping those without room. Only one call runs at a time; further calls return at once. */
  async #serveLine(): Promise<void> {
    let next = this.#nextInLine();
    if (this.#placing || !next) return;
    this.#placing = true;
    try {
      for (; next; next = this.#nextInLine()) {
        const seen = this.#releases;
        const isPlaced = await this.#place(next);
        // Otherwise room that became free during the attempt would go unnoticed.
        if (!isPlaced && seen === this.#releases && this.#starting.has(next)) this.#stuck.add(next);
      }
    } finally {
      this.#placing = false;
    }
    this.admit(); // others may use the slots of those without room
  }

  #nextInLine(): Sequence<Held, Hold> | null {
    if (this.#options.slots.free === 0) return null;
    const [first] = this.#line;
    if (first && this.#mustYield) return this.#stuck.has(first) ? null : first;
    return this.#line.find((sequence) => !this.#stuck.has(sequence)) ?? null;
  }

  /** false if there is no room until a sequence ends. */
  async #place(sequence: Sequence<Held, Hold>): Promise<boolean> {
    const { slots, bank } = this.#options;
    try {
      assert(sequence.lease, "a sequence in line for the bank has its adapter leased");
      const slot = slots.acquire(sequence);
      assert(slot !== null, "a slot is free for a sequence that is placed");
      sequence.slot = slot;
      const hold = await bank.acquire(sequence.lease.adapter);
      if (this.#ended(sequence)) {
        hold?.release();
        return true;
      }
      if (!hold) {
        slots.release(sequence.slot);
        sequence.slot = -1;
        return false;
      }
      sequence.hold = hold;
      if (this.#line[0] !== sequence) this.#passed++;
      this.remove(sequence);
      this.#options.admitted(sequence);
    } catch (error) {
      this.#fail(sequence, error);
    }
    return true;
  }

  /** Read through a call, since the phase may change while an adapter loads. */
  #ended(sequence: Sequence<Held, Hold>): boolean {
    return sequence.phase === "finished";
  }

  #fail(sequence: Sequence<Held, Hold>, error: unknown): void {
    if (this.#ended(sequence)) return;
    this.#options.failed(sequence, error instanceof Error ? error : new Error(String(error)));
  }

  /** Waiting requests of each adapter (null: the base), and the arrival of the first. */
  *queues(): IterableIterator<{ readonly adapter: string | null; readonly waiting: number; readonly since: number }> {
    for (const [adapter, first] of this.#queue.heads()) {
      yield { adapter, waiting: this.#queue.waitingOf(adapter), since: first.submittedAt };
    }
  }

  /** Checks the queue's accounting. */
  check(): void {
    this.#queue.check();
    for (const sequence of this.#line) assert(this.#starting.has(sequence), "a sequence in line is starting");
    for (const sequence of this.#stuck) assert(this.#starting.has(sequence), "a stuck sequence is starting");
  }
}

function adapterQueueFull(adapter: Key, found: number, allowed: number): LorikeetError {
  const whose = adapter === null ? "the base model" : "this adapter";
  return new LorikeetError(
    "adapter_queue_full",
    `${found} requests wait for ${whose} already; at most ${allowed} may (--max-adapter-queue).`,
    { param: "model", found, allowed },
  );
}
