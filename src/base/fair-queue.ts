/**
 * A fair queue for entries that belong to parties (adapters, connections): deficit round robin (Shreedhar and Varghese, 1995),
 * in integers and without a clock. Each cycle visits every waiting party once. A visit credits the party with one turn; if its
 * balance is then positive, one entry is served and its expected cost is charged. The charge is corrected while the entry
 * runs and when it ends. Entries of one party are served in order.
 *
 * - The queue is work-conserving: cycles that would serve nobody are credited at once.
 * - In one cycle each other party overtakes a waiting party at most once, however many entries it has.
 * - Use is not charged while no other party waits.
 * - A party without waiting or running entries is forgotten.
 */
import { assert } from "./errors.js";

export interface FairQueueOptions {
  /** What a visit credits, and the minimum cost of an entry. */
  readonly turn: number;
  /** The largest debt of a party, in turns: the most visits that it can be passed over for. */
  readonly maxTurnsOwed?: number;
}

/** Newcomers beyond this many join the next cycle, so that an endless stream of them cannot starve the waiting parties. */
const newcomersPerCycle = 16;
/** The largest credit of a party, in turns, from refunds of unused cost. */
const maxTurnsSaved = 8;

interface Party<K, T> {
  readonly key: K;
  readonly waiting: Entry<K, T>[];
  running: number;
  /** Below zero: a debt. */
  balance: number;
  /** The cycle that last served it. */
  served: number;
}

interface Entry<K, T> {
  readonly party: Party<K, T>;
  readonly item: T;
  /** The cost charged to its party so far. */
  paid: number;
  /** What it has used so far. */
  used: number;
  state: "waiting" | "running" | "ended";
}

/** An entry's place in the queue, and then the account of what it uses. */
export interface Ticket {
  /** Reports that the entry has used `amount` more. */
  use(amount: number): void;
  /** Ends the entry, served or not. Idempotent. */
  end(): void;
}

export class FairQueue<K, T> {
  readonly #turn: number;
  readonly #maxDebt: number;
  readonly #maxCredit: number;
  readonly #parties = new Map<K, Party<K, T>>();
  /** Waiting parties: those that this cycle has yet to visit, in order, and those of the next cycle. */
  #current: Party<K, T>[] = [];
  #later: Party<K, T>[] = [];
  #cycle = 0;
  #newcomers = 0;
  #size = 0;

  constructor(options: FairQueueOptions) {
    this.#turn = options.turn;
    this.#maxDebt = (options.maxTurnsOwed ?? 1024) * options.turn;
    this.#maxCredit = maxTurnsSaved * options.turn;
  }

  /** Number of waiting entries. */
  get size(): number {
    return this.#size;
  }

  /** Number of parties with a waiting or running entry. */
  get parties(): number {
    return this.#parties.size;
  }

  waitingOf(key: K): number {
    return this.#parties.get(key)?.waiting.length ?? 0;
  }

  runningOf(key: K): number {
    return this.#parties.get(key)?.running ?? 0;
  }

  /** All waiting items, party by party. */
  *waiting(): IterableIterator<T> {
    for (const party of this.#parties.values()) for (const { item } of party.waiting) yield item;
  }

  /** The first waiting item of each party. */
  *heads(): IterableIterator<readonly [K, T]> {
    for (const { key, waiting } of this.#parties.values()) if (waiting[0]) yield [key, waiting[0].item];
  }

  /** Queues an item. `known` is the cost that it has for certain, `expected` the total that it will probably use. */
  push(key: K, item: T, cost: { readonly known: number; readonly expected: number }): Ticket {
    const party = this.#parties.get(key) ?? { key, waiting: [], running: 0, balance: 0, served: -1 };
    if (!this.#parties.has(key)) this.#parties.set(key, party);
    if (party.waiting.length === 0) this.#join(party);
    const entry: Entry<K, T> = {
      party,
      item,
      paid: Math.max(this.#turn, cost.expected),
      used: cost.known,
      state: "waiting",
    };
    party.waiting.push(entry);
    this.#size++;
    return { use: (amount) => this.#use(entry, amount), end: () => this.#end(entry) };
  }

  /** Removes and returns the next item of a party that may be served now; null if there is none. */
  next(mayServe: (key: K) => boolean = () => true): T | null {
    if (this.#size === 0) return null;
    const able = new Set([...this.#current, ...this.#later].filter(({ key }) => mayServe(key)));
    if (able.size === 0) return null;
    for (;;) {
      const passed: Party<K, T>[] = [];
      for (let party = this.#current.shift(); party; party = this.#current.shift()) {
        if (!able.has(party)) passed.push(party);
        else if (this.#visit(party)) {
          this.#current.unshift(...passed);
          return this.#serve(party);
        } else this.#later.push(party);
      }
      this.#beginCycle(passed, able);
    }
  }

  /** The newest entry of the party with the most waiting entries, to evict for a party with fewer; null if nothing waits. */
  newestOfLongest(): { readonly key: K; readonly item: T; readonly waiting: number } | null {
    let longest: Party<K, T> | null = null;
    for (const party of this.#parties.values()) {
      if (party.waiting.length > (longest?.waiting.length ?? 0)) longest = party;
    }
    const newest = longest?.waiting.at(-1);
    return longest && newest ? { key: longest.key, item: newest.item, waiting: longest.waiting.length } : null;
  }

  /** Checks the invariants. Throws `internal` if one does not hold. */
  check(): void {
    let waiting = 0;
    for (const party of this.#parties.values()) {
      waiting += party.waiting.length;
      const places = [...this.#current, ...this.#later].filter((other) => other === party).length;
      assert(places === (party.waiting.length > 0 ? 1 : 0), "a waiting party is visited once a cycle");
      assert(party.waiting.length + party.running > 0, "a party without entries is forgotten");
      assert(party.balance >= -this.#maxDebt, "no party's debt exceeds the limit");
    }
    assert(waiting === this.#size, `${waiting} entries wait, but ${this.#size} are counted`);
  }

  /** Credits one turn. true: the party has a positive balance and is served. */
  #visit(party: Party<K, T>): boolean {
    this.#credit(party, this.#turn);
    return party.balance > 0;
  }

  #serve(party: Party<K, T>): T {
    const entry = party.waiting.shift();
    assert(entry, "a visited party has an entry");
    this.#size--;
    party.running++;
    party.served = this.#cycle;
    this.#charge(party, entry.paid);
    entry.state = "running";
    if (party.waiting.length > 0) this.#later.push(party);
    return entry.item;
  }

  /** Starts with the parties that could not be served, and credits the cycles that would serve nobody. */
  #beginCycle(passed: Party<K, T>[], able: ReadonlySet<Party<K, T>>): void {
    this.#current = [...passed, ...this.#later];
    this.#later = [];
    this.#cycle++;
    this.#newcomers = 0;
    const turn = this.#turn;
    const idle = Math.min(...[...able].map(({ balance }) => Math.ceil((1 - balance) / turn) - 1));
    if (idle > 0) for (const party of able) this.#credit(party, idle * turn);
  }

  #credit(party: Party<K, T>, amount: number): void {
    party.balance = Math.min(this.#maxCredit, party.balance + amount);
  }

  #charge(party: Party<K, T>, amount: number): void {
    party.balance = Math.max(-this.#maxDebt, party.balance - amount);
  }

  /** A party that this cycle has not served joins it, up to the newcomers' limit. */
  #join(party: Party<K, T>): void {
    if (party.served === this.#cycle || this.#newcomers >= newcomersPerCycle) {
      this.#later.push(party);
      return;
    }
    this.#newcomers++;
    this.#current.push(party);
  }

  #use(entry: Entry<K, T>, amount: number): void {
    assert(entry.state === "running", "only a served entry is used");
    const { party } = entry;
    entry.used += amount;
    if (entry.used <= entry.paid) return;
    const others = this.#size - party.waiting.length;
    if (others > 0) this.#charge(party, entry.used - entry.paid);
    entry.paid = entry.used;
  }

  #end(entry: Entry<K, T>): void {
    const { party, state } = entry;
    entry.state = "ended";
    if (state === "ended") return;
    if (state === "waiting") this.#leave(entry);
    else {
      party.running--;
      this.#credit(party, Math.max(0, entry.paid - Math.max(this.#turn, entry.used)));
    }
    if (party.waiting.length + party.running === 0) this.#parties.delete(party.key);
  }

  #leave(entry: Entry<K, T>): void {
    const { waiting } = entry.party;
    waiting.splice(waiting.indexOf(entry), 1);
    this.#size--;
    if (waiting.length > 0) return;
    this.#current = this.#current.filter((party) => party !== entry.party);
    this.#later = this.#later.filter((party) => party !== entry.party);
  }
}
