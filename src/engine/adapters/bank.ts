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
import { adaptsAny, BankGains } from "./bank-gains.js";
import { type Resident, Residents } from "./residents.js";
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
  readonly residents: Residents;
}

export const rankClasses = 2;

/** Bytes of the largest adapter that is moved between two steps. */
const maxMoveBytes = 32 << 20;

export class AdapterBank {
  readonly gains: BankGains;
  readonly #options: BankOptions;
  readonly #classes: RankClass[];
  readonly #headGroups: readonly ModuleGroup[];
  #clock = 0;
  /** Writes happen one after another. */
  #writing: Promise<unknown> = Promise.resolve();

  constructor(options: BankOptions) {
    this.#options = options;
    const { groups, tiedHead = null, norms = [], places } = options;
    this.#headGroups = tiedHead ? [{ key: tiedHead.path, inFeatures: tiedHead.inFeatures, parts: [tiedHead] }] : [];
    this.gains = new BankGains({ groups, headGroups: this.#headGroups, norms, places: rankClasses * places });
    this.#classes = Array.from({ length: rankClasses }, () => ({
      memory: null,
      head: null,
      residents: new Residents(places),
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
    const { residents } = at(this.#classes, index);
    const place = residents.choose();
    if (place < 0) return null;
    residents.empty(place);
    if (!this.#makeRoom(this.#bytesOf(adapter, this.#memory(index).rank))) return null;
    await this.#write(index, place, adapter);
    return this.#hold({ rankClass: index, resident: residents.put(place, adapter) });
  }

  async #write(index: number, place: number, adapter: HostAdapter): Promise<void> {
    const entry = at(this.#classes, index);
    const memory = this.#memory(index);
    await memory.write(place, adapter, pauser());
    this.gains.write(this.#gainRow(index, place), adapter);
    if (!this.#adaptsTiedHead(adapter)) return;
    entry.head ??= await this.#createClass(this.#headGroups, memory.rank);
    await entry.head.write(place, adapter, pauser());
  }

  #adaptsTiedHead(adapter: HostAdapter): boolean {
    return adaptsAny(this.#headGroups, adapter);
  }

  /** Every group that an adapter takes memory of. */
  #groupsOf(adapter: HostAdapter): readonly ModuleGroup[] {
    const { groups } = this.#options;
    return this.#adaptsTiedHead(adapter) ? [...groups, ...this.#headGroups] : groups;
  }

  #bytesOf(adapter: HostAdapter, rank: number): number {
    return placeBytes(this.#groupsOf(adapter), rank) + this.gains.bytesOf(adapter) + tokenBytes(adapter);
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
      digest: resident.own.digest,
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
      const resident = residents.find(digest);
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
    const unused = this.#classes.findIndex(({ residents }) => residents.users === 0);
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
    entry.residents.dropIdle();
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
    const { residents } = entry;
    const used = [...residents].filter(({ users }) => users > 0).map(({ own }) => this.#groupsOf(own));
    const grown = used.reduce((sum, groups) => sum + placeBytes(groups, rank) - placeBytes(groups, old.rank), 0);
    if (!this.#makeRoom(grown)) return false;
    residents.dropIdle();
    const next = await this.#createClass(this.#options.groups, rank);
    const nextHead = entry.head && (await this.#createClass(this.#headGroups, rank));
    for (const { place, own } of residents) {
      await next.copyFrom(old, place, place, pauser());
      if (entry.head && this.#adaptsTiedHead(own)) await nextHead?.copyFrom(entry.head, place, place, pauser());
    }
    entry.memory = next;
    entry.head = nextHead;
    return true;
  }

  /** Drops idle adapters, the longest idle first, until `bytes` more fit. */
  #makeRoom(bytes: number): boolean {
    while (this.bytes + bytes > this.#options.maxBytes) {
      const idle = this.#classes.flatMap(({ residents }) => {
        const resident = residents.longestIdle();
        return resident ? [{ residents, resident }] : [];
      });
      idle.sort((one, other) => one.resident.lastUsed - other.resident.lastUsed);
      const [oldest] = idle;
      if (!oldest) return false;
      oldest.residents.empty(oldest.resident.place);
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
    const { index, hole, moving } = move;
    const { place, own } = moving;
    const { residents, head } = at(this.#classes, index);
    residents.empty(hole);
    await this.#memory(index).copyFrom(this.#memory(index), place, hole, pauser());
    if (head && this.#adaptsTiedHead(own)) await head.copyFrom(head, place, hole, pauser());
    await this.gains.copy(this.#gainRow(index, place), this.#gainRow(index, hole), own);
    residents.move(moving, hole);
    return true;
  }

  /** An adapter at the edge of its window and a hole inside, where the copy is short: steps wait for it. */
  #findMove(): { readonly index: number; readonly hole: number; readonly moving: Resident } | null {
    for (const [index, { memory, residents }] of this.#classes.entries()) {
      const move = residents.scattered();
      if (!move || !memory || placeBytes(this.#groupsOf(move.moving.own), memory.rank) > maxMoveBytes) continue;
      return { index, ...move };
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
      for (const { own } of residents) if (memory) total += this.#bytesOf(own, memory.rank);
    }
    return total;
  }

  get digests(): string[] {
    return this.#classes.flatMap(({ residents }) => [...residents].map(({ own }) => own.digest));
  }

  get holds(): number {
    return this.#classes.reduce((sum, { residents }) => sum + residents.users, 0);
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
