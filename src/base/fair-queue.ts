/**
 * Who goes next when many wait and each belongs to a party (an adapter, a connection): deficit round robin (Shreedhar and
 * Varghese, 1995), in integers and without a clock. Every party that waits is visited once a cycle. A visit pays a turn's
 * worth; a party that owes nothing then is served one entry, which costs what it is expected to take. What it really takes
 * is corrected while it runs and when it ends. Entries of one party are served in order. Knows nothing of what it queues.
 *
 * - Nobody waits while something could be served: cycles that would serve nobody are paid for at once.
 * - A party that waits is passed at most once by each other party a cycle, however many entries the others have.
 * - What is used while nobody else waits is owed to nobody.
 * - A party without an entry, queued or running, is forgotten.
 */
import { assert } from "./errors.js";

export interface FairQueueOptions {
  /** What a visit pays, and the least that an entry costs. */
  readonly turn: number;
  /** No party ever owes more: the longest that it can be passed over is this many turns. */
  readonly mostTurnsOwed?: number;
}

/** Parties that come after these in one cycle wait for the next, so that newcomers without end keep nobody waiting. */
const newcomersPerCycle = 16;
/** Turns that a party can have to its credit, for what it paid and did not use. */
const mostTurnsSaved = 8;

interface Party<K, T> {
  readonly key: K;
  readonly waiting: Entry<K, T>[];
  running: number;
  /** Below zero: owed. */
  balance: number;
  /** The cycle that served it last. */
  served: number;
}

interface Entry<K, T> {
  readonly party: Party<K, T>;
  readonly item: T;
  /** What its party has paid for it. */
  paid: number;
  /** What it has taken so far. */
  used: number;
  state: "waiting" | "running" | "ended";
}

/** One place in the queue, and later the account of what was taken from it. */
export interface Ticket {
  /** The entry has used so much more. */
  use(amount: number): void;
  /** It is over, served or not. Idempotent. */
  end(): void;
}

export class FairQueue<K, T> {
  readonly #turn: number;
  readonly #mostOwed: number;
  readonly #mostSaved: number;
  readonly #parties = new Map<K, Party<K, T>>();
  /** Parties with something waiting: those that this cycle will still visit, in order, and those of the next. */
  #current: Party<K, T>[] = [];
  #later: Party<K, T>[] = [];
  #cycle = 0;
  #newcomers = 0;
  #size = 0;

  constructor(options: FairQueueOptions) {
    this.#turn = options.turn;
    this.#mostOwed = (options.mostTurnsOwed ?? 1024) * options.turn;
    this.#mostSaved = mostTurnsSaved * options.turn;
  }

  /** Entries that wait. */
  get size(): number {
    return this.#size;
  }

  /** Parties with an entry that waits or runs. */
  get parties(): number {
    return this.#parties.size;
  }

  waitingOf(key: K): number {
    return this.#parties.get(key)?.waiting.length ?? 0;
  }

  runningOf(key: K): number {
    return this.#parties.get(key)?.running ?? 0;
  }

  /** Everything that waits, party by party. */
  *waiting(): IterableIterator<T> {
    for (const party of this.#parties.values()) for (const { item } of party.waiting) yield item;
  }

  /** The first that waits of each party. */
  *heads(): IterableIterator<readonly [K, T]> {
    for (const { key, waiting } of this.#parties.values()) if (waiting[0]) yield [key, waiting[0].item];
  }

  /** `known` is used for certain, `expected` is the whole that the entry will probably use. */
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

  /** Takes the next entry out, among those whose party may be served now. */
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

  /** The newest entry of whoever has most waiting: what has to go when there is no room for one with less. null: nobody waits. */
  newestOfLongest(): { readonly key: K; readonly item: T; readonly waiting: number } | null {
    let longest: Party<K, T> | null = null;
    for (const party of this.#parties.values()) {
      if (party.waiting.length > (longest?.waiting.length ?? 0)) longest = party;
    }
    const newest = longest?.waiting.at(-1);
    return longest && newest ? { key: longest.key, item: newest.item, waiting: longest.waiting.length } : null;
  }

  /** Proves the accounts; throws `internal` where they do not hold. */
  check(): void {
    let waiting = 0;
    for (const party of this.#parties.values()) {
      waiting += party.waiting.length;
      const places = [...this.#current, ...this.#later].filter((other) => other === party).length;
      assert(places === (party.waiting.length > 0 ? 1 : 0), "a party is visited once a cycle while it waits");
      assert(party.waiting.length + party.running > 0, "a party without entries is forgotten");
      assert(party.balance >= -this.#mostOwed, "no party owes more than the bound");
    }
    assert(waiting === this.#size, `${waiting} entries wait where ${this.#size} are counted`);
  }

  /** A visit: a turn is paid, whatever is left of earlier ones. true: the party owes nothing. */
  #visit(party: Party<K, T>): boolean {
    this.#pay(party, this.#turn);
    return party.balance > 0;
  }

  #serve(party: Party<K, T>): T {
    const entry = party.waiting.shift();
    assert(entry, "a party that is visited has an entry");
    this.#size--;
    party.running++;
    party.served = this.#cycle;
    this.#owe(party, entry.paid);
    entry.state = "running";
    if (party.waiting.length > 0) this.#later.push(party);
    return entry.item;
  }

  /** Begins with those that were passed over since they could not be served, and pays for the cycles that would serve nobody. */
  #beginCycle(passed: Party<K, T>[], able: ReadonlySet<Party<K, T>>): void {
    this.#current = [...passed, ...this.#later];
    this.#later = [];
    this.#cycle++;
    this.#newcomers = 0;
    const turn = this.#turn;
    const idle = Math.min(...[...able].map(({ balance }) => Math.ceil((1 - balance) / turn) - 1));
    if (idle > 0) for (const party of able) this.#pay(party, idle * turn);
  }

  #pay(party: Party<K, T>, amount: number): void {
    party.balance = Math.min(this.#mostSaved, party.balance + amount);
  }

  #owe(party: Party<K, T>, amount: number): void {
    party.balance = Math.max(-this.#mostOwed, party.balance - amount);
  }

  /** Who was not served in this cycle yet still gets its visit. */
  #join(party: Party<K, T>): void {
    if (party.served === this.#cycle || this.#newcomers >= newcomersPerCycle) {
      this.#later.push(party);
      return;
    }
    this.#newcomers++;
    this.#current.push(party);
  }

  #use(entry: Entry<K, T>, amount: number): void {
    assert(entry.state === "running", "only what was served is used");
    const { party } = entry;
    entry.used += amount;
    if (entry.used <= entry.paid) return;
    const others = this.#size - party.waiting.length;
    if (others > 0) this.#owe(party, entry.used - entry.paid);
    entry.paid = entry.used;
  }

  #end(entry: Entry<K, T>): void {
    const { party, state } = entry;
    entry.state = "ended";
    if (state === "ended") return;
    if (state === "waiting") this.#leave(entry);
    else {
      party.running--;
      this.#pay(party, Math.max(0, entry.paid - Math.max(this.#turn, entry.used)));
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
