/**
 * The active set: adapters in the layout that a step reads, at most a byte bound of them. Two rank classes keep one large
 * rank from making every small one pay. Holds are counted; an idle adapter stays until its place is wanted.
 */

import type { HostAdapter, HostTable, HostTokens } from "../../adapter/types.js";
import { assert, LorikeetError } from "../../base/errors.js";
import { at } from "../../base/list.js";
import type { Norm, TargetModule } from "../../model/blueprint.js";
import type { ModuleGroup } from "../../model/serving/adapters.js";
import { paddedRank } from "../../model/serving/rank-tiles.js";
import { BankClass, placeBytes } from "./bank-class.js";
import { GainStack, gainBytes } from "./gain-stack.js";
import { pauser } from "./slices.js";
import { headTokens } from "./tables.js";

export interface BankOptions {
  readonly groups: readonly ModuleGroup[];
  /** A head that few adapters change: it takes memory only for those. Default: none. */
  readonly tiedHead?: TargetModule | null;
  /** Norms that few adapters change: they take memory only for those. Default: none. */
  readonly norms?: readonly Norm[];
  /** Places of each class: no step can use more adapters than rows. */
  readonly places: number;
  /** Bound on fp32 bytes of all resident adapters, padding included. */
  readonly maxBytes: number;
}

interface Resident {
  readonly digest: string;
  readonly own: HostAdapter;
  place: number;
  users: number;
  lastUsed: number;
}

/** A counted hold on a resident adapter. Its class and place may change between steps. */
export interface BankHold {
  readonly digest: string;
  /** The adapter's own. */
  readonly rank: number;
  readonly rankClass: number;
  readonly place: number;
  /** Its row of the gains; null without DoRA. */
  readonly gain: number | null;
  /** What it adds to the embeddings. Default: nothing. */
  readonly embedding?: HostTable | undefined;
  /** Rows of single tokens that it replaces. Default: none. */
  readonly tokens?: readonly HostTokens[] | undefined;
  /** Its row of the norms' factors and biases. Default: it leaves them alone. */
  readonly norms?: number | undefined;
  /** Whether it changes a tied head. Default: it does not. */
  readonly adaptsTiedHead?: boolean;
  release(): void;
}

interface RankClass {
  memory: BankClass | null;
  /** The tied head's, at the same places; null until an adapter of this class changes it. */
  head: BankClass | null;
  readonly residents: (Resident | null)[];
}

export const rankClasses = 2;

/** Bytes of the largest adapter that is moved between two steps. */
const maxMoveBytes = 32 << 20;

export class AdapterBank {
  readonly gains: GainStack;
  /** Of the tied head, in the same rows. */
  readonly headGains: GainStack;
  /** Of norms, in the same rows. */
  readonly normGains: GainStack;
  readonly #options: BankOptions;
  readonly #classes: RankClass[];
  readonly #headGroups: readonly ModuleGroup[];
  readonly #normGroups: readonly ModuleGroup[];
  #clock = 0;
  /** Writes happen one after another. */
  #writing: Promise<unknown> = Promise.resolve();

  constructor(options: BankOptions) {
    this.#options = options;
    this.gains = new GainStack(options.groups, rankClasses * options.places);
    const { tiedHead = null } = options;
    this.#headGroups = tiedHead ? [{ key: tiedHead.path, inFeatures: tiedHead.inFeatures, parts: [tiedHead] }] : [];
    this.headGains = new GainStack(this.#headGroups, rankClasses * options.places);
    this.#normGroups = (options.norms ?? []).map(({ path, size }) => {
      return { key: path, inFeatures: size, parts: [{ path, inFeatures: size, outFeatures: size }] };
    });
    this.normGains = new GainStack(this.#normGroups, rankClasses * options.places);
    this.#classes = Array.from({ length: rankClasses }, () => ({
      memory: null,
      head: null,
      residents: Array.from({ length: options.places }, () => null),
    }));
  }

  /** Resolves with a hold once the adapter is in place, or with null when there is no room until a hold is released. Throws `adapter_too_large` when it never fits. */
  async acquire(adapter: HostAdapter): Promise<BankHold | null> {
    // Who is resident need not wait for the copy of another.
    const known = this.#find(adapter.digest);
    if (known) return this.#hold(known);
    const result = this.#writing.then(() => this.#acquire(adapter));
    this.#writing = result.catch(() => undefined);
    return result;
  }

  async #acquire(adapter: HostAdapter): Promise<BankHold | null> {
    const known = this.#find(adapter.digest);
    if (known) return this.#hold(known);
    const rank = paddedRank(adapter.rank);
    const bytes = this.#bytesOf(adapter, rank);
    if (bytes > this.#options.maxBytes) {
      throw new LorikeetError(
        "adapter_too_large",
        `The adapter takes ${bytes} bytes in the active set, which holds at most ${this.#options.maxBytes} (--active-adapter-bytes).`,
        { found: bytes, allowed: this.#options.maxBytes },
      );
    }
    const index = await this.#classFor(rank);
    if (index < 0) return null;
    const chosen = at(this.#classes, index);
    const place = this.#choosePlace(chosen);
    if (place < 0) return null;
    chosen.residents[place] = null;
    if (!this.#makeRoom(this.#bytesOf(adapter, this.#memory(index).rank))) return null;
    await this.#write(index, place, adapter);
    const resident: Resident = { digest: adapter.digest, own: adapter, place, users: 0, lastUsed: 0 };
    chosen.residents[place] = resident;
    return this.#hold({ rankClass: index, resident });
  }

  async #write(index: number, place: number, adapter: HostAdapter): Promise<void> {
    const entry = at(this.#classes, index);
    const memory = this.#memory(index);
    await memory.write(place, adapter, pauser());
    const row = this.#gainRow(index, place);
    if (adapter.hasGains) this.gains.write(row, adapter);
    if (adapter.changesNorms) this.normGains.write(row, adapter);
    if (!this.#adaptsTiedHead(adapter)) return;
    entry.head ??= await this.#createClass(this.#headGroups, memory.rank);
    await entry.head.write(place, adapter, pauser());
    if (adapter.hasGains) this.headGains.write(row, adapter);
  }

  #adaptsTiedHead({ modules }: HostAdapter): boolean {
    return this.#headGroups.some(({ key }) => modules.has(key));
  }

  /** Every group that an adapter takes memory of. */
  #groupsOf(adapter: HostAdapter): readonly ModuleGroup[] {
    const { groups } = this.#options;
    return this.#adaptsTiedHead(adapter) ? [...groups, ...this.#headGroups] : groups;
  }

  #bytesOf(adapter: HostAdapter, rank: number): number {
    const groups = this.#groupsOf(adapter);
    const gains = (adapter.hasGains ? gainBytes(groups) : 0) + (adapter.changesNorms ? gainBytes(this.#normGroups) : 0);
    return placeBytes(groups, rank) + gains + tokenBytes(adapter);
  }

  #gainRow(rankClass: number, place: number): number {
    return rankClass * this.#options.places + place;
  }

  #hold({ rankClass, resident }: { rankClass: number; resident: Resident }): BankHold {
    resident.users++;
    resident.lastUsed = ++this.#clock;
    let released = false;
    const rowOf = (place: number) => this.#gainRow(rankClass, place);
    const gainOf = (place: number) => (resident.own.hasGains ? rowOf(place) : null);
    return {
      digest: resident.digest,
      rank: resident.own.rank,
      embedding: resident.own.embedding,
      tokens: resident.own.tokens,
      adaptsTiedHead: this.#adaptsTiedHead(resident.own),
      rankClass,
      get place() {
        return resident.place;
      },
      get gain() {
        return gainOf(resident.place);
      },
      get norms() {
        return resident.own.changesNorms ? rowOf(resident.place) : undefined;
      },
      release: () => {
        assert(!released, "a bank hold is released once");
        released = true;
        resident.users--;
        resident.lastUsed = ++this.#clock;
      },
    };
  }

  #find(digest: string): { rankClass: number; resident: Resident } | null {
    for (const [rankClass, { residents }] of this.#classes.entries()) {
      const resident = residents.find((entry) => entry?.digest === digest);
      if (resident) return { rankClass, resident };
    }
    return null;
  }

  /** The class for a padded rank: one of about that rank, else an unused one set to this rank, else a larger one, else the largest grows. */
  async #classFor(rank: number): Promise<number> {
    const ranks = this.#classes.map(({ memory }) => memory?.rank ?? 0);
    const fits = (limit: number): number => {
      let best = -1;
      for (const [i, r] of ranks.entries()) {
        if (r >= rank && r <= limit && (best < 0 || r < at(ranks, best))) best = i;
      }
      return best;
    };
    const close = fits(rank * 2);
    if (close >= 0) return close;
    const unused = this.#classes.findIndex(({ residents }) => residents.every((entry) => !entry?.users));
    if (unused >= 0) {
      await this.#configure(unused, rank);
      return unused;
    }
    const larger = fits(Number.POSITIVE_INFINITY);
    if (larger >= 0) return larger;
    const largest = ranks.indexOf(Math.max(...ranks));
    return (await this.#grow(largest, rank)) ? largest : -1;
  }

  async #configure(index: number, rank: number): Promise<void> {
    const entry = at(this.#classes, index);
    entry.residents.fill(null);
    if (entry.memory?.rank === rank) return;
    entry.head = null;
    entry.memory = await this.#createClass(this.#options.groups, rank);
  }

  #createClass(groups: readonly ModuleGroup[], rank: number): Promise<BankClass> {
    return BankClass.create(groups, this.#options.places, rank, pauser());
  }

  async #grow(index: number, rank: number): Promise<boolean> {
    const entry = at(this.#classes, index);
    const old = this.#memory(index);
    const used = entry.residents.flatMap((resident) => (resident?.users ? [this.#groupsOf(resident.own)] : []));
    const grown = used.reduce((sum, groups) => sum + placeBytes(groups, rank) - placeBytes(groups, old.rank), 0);
    if (!this.#makeRoom(grown)) return false;
    const { residents } = entry;
    for (const [place, resident] of residents.entries()) if (resident?.users === 0) residents[place] = null;
    const next = await this.#createClass(this.#options.groups, rank);
    const nextHead = entry.head && (await this.#createClass(this.#headGroups, rank));
    for (const [place, resident] of residents.entries()) {
      if (!resident) continue;
      await next.copyFrom(old, place, place, pauser());
      if (entry.head && this.#adaptsTiedHead(resident.own)) {
        await nextHead?.copyFrom(entry.head, place, place, pauser());
      }
    }
    entry.memory = next;
    entry.head = nextHead;
    return true;
  }

  /** A place for a new adapter: inside the window of used places, then beside it, free ones first, then the longest idle. -1: all in use. */
  #choosePlace(entry: RankClass): number {
    const window = windowOf(entry.residents);
    let best = -1;
    let bestScore = Number.POSITIVE_INFINITY;
    for (const [place, resident] of entry.residents.entries()) {
      if (resident?.users) continue;
      const outside = !window ? 0 : place < window.first ? window.first - place : Math.max(0, place - window.last);
      const score = outside * 1e9 + (resident ? 1 + resident.lastUsed / (this.#clock + 1) : 0);
      if (score < bestScore) [best, bestScore] = [place, score];
    }
    return best;
  }

  /** Drops idle adapters, the longest idle first, until `bytes` more fit. */
  #makeRoom(bytes: number): boolean {
    while (this.bytes + bytes > this.#options.maxBytes) {
      let oldest: { residents: (Resident | null)[]; place: number; lastUsed: number } | null = null;
      for (const { residents } of this.#classes) {
        for (const [place, resident] of residents.entries()) {
          if (!resident || resident.users > 0) continue;
          if (!oldest || resident.lastUsed < oldest.lastUsed) {
            oldest = { residents, place, lastUsed: resident.lastUsed };
          }
        }
      }
      if (!oldest) return false;
      oldest.residents[oldest.place] = null;
    }
    return true;
  }

  /** Moves one adapter at the edge of a class's window into a hole, so that steps run fewer padded groups. */
  compact(): Promise<boolean> {
    const result = this.#writing.then(() => this.#compact());
    this.#writing = result.catch(() => undefined);
    return result;
  }

  async #compact(): Promise<boolean> {
    const move = this.#findMove();
    if (!move) return false;
    const { index, from, hole, moving } = move;
    const { residents, head } = at(this.#classes, index);
    residents[hole] = null;
    await this.#memory(index).copyFrom(this.#memory(index), from, hole, pauser());
    if (head && this.#adaptsTiedHead(moving.own)) await head.copyFrom(head, from, hole, pauser());
    if (moving.own.hasGains) {
      const rows = [this.#gainRow(index, from), this.#gainRow(index, hole)] as const;
      await this.gains.copy(...rows);
      await this.headGains.copy(...rows);
    }
    if (moving.own.changesNorms) await this.normGains.copy(this.#gainRow(index, from), this.#gainRow(index, hole));
    residents[hole] = moving;
    residents[from] = null;
    moving.place = hole;
    return true;
  }

  /** An adapter at the edge of its window and a hole inside, where the copy is short: steps wait for it. */
  #findMove(): { index: number; from: number; hole: number; moving: Resident } | null {
    for (const [index, { memory, residents }] of this.#classes.entries()) {
      const window = windowOf(residents);
      if (!window || !memory) continue;
      const { first, last } = window;
      const hole = residents.findIndex((resident, place) => place > first && place < last && !resident?.users);
      const moving = residents[last];
      if (!moving || placeBytes(this.#groupsOf(moving.own), memory.rank) > maxMoveBytes) continue;
      if (hole >= 0) return { index, from: last, hole, moving };
    }
    return null;
  }

  /** Whether `compact` would find something to do. */
  get scattered(): boolean {
    return this.#findMove() !== null;
  }

  /** The class's memory, whose views a step binds. */
  #memory(index: number): BankClass {
    const memory = this.#classes[index]?.memory;
    assert(memory, `rank class ${index} has memory`);
    return memory;
  }

  memory(index: number): BankClass {
    return this.#memory(index);
  }

  /** The tied head's memory of a class or, if no adapter of it has changed the head, another's, which then no row reads. */
  head(index: number): BankClass {
    const memory = at(this.#classes, index).head ?? this.#classes.find(({ head }) => head)?.head;
    assert(memory, "an adapter that changes the tied head is in the bank");
    return memory;
  }

  get bytes(): number {
    let total = 0;
    for (const { memory, residents } of this.#classes) {
      for (const entry of residents) if (memory && entry) total += this.#bytesOf(entry.own, memory.rank);
    }
    return total;
  }

  get digests(): string[] {
    return this.#classes.flatMap(({ residents }) => residents.flatMap((entry) => (entry ? [entry.digest] : [])));
  }

  get holds(): number {
    return this.#classes.reduce(
      (sum, { residents }) => sum + residents.reduce((users, entry) => users + (entry?.users ?? 0), 0),
      0,
    );
  }

  /** Waits for what is being written. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writing;
  }
}

/** Of the rows of the head, which a step of several adapters copies side by side. */
function tokenBytes(adapter: HostAdapter): number {
  const tokens = headTokens(adapter);
  return tokens ? tokens.tiles.byteLength + tokens.ids.byteLength : 0;
}

function windowOf(residents: readonly (Resident | null)[]): { first: number; last: number; used: number } | null {
  let first = -1;
  let last = -1;
  let used = 0;
  for (const [place, resident] of residents.entries()) {
    if (!resident?.users) continue;
    if (first < 0) first = place;
    last = place;
    used++;
  }
  return used > 0 ? { first, last, used } : null;
}
