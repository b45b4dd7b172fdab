/** Which adapter is at which place of a class, who uses it, and which place another one gets. */

import type { HostAdapter } from "../../adapter/types.js";

export interface Resident {
  readonly own: HostAdapter;
  place: number;
  users: number;
  lastUsed: number;
}

export class Residents {
  readonly #places: (Resident | null)[];

  constructor(places: number) {
    this.#places = Array.from({ length: places }, () => null);
  }

  *[Symbol.iterator](): Iterator<Resident> {
    for (const resident of this.#places) if (resident) yield resident;
  }

  find(digest: string): Resident | undefined {
    for (const resident of this) if (resident.own.digest === digest) return resident;
    return undefined;
  }

  get users(): number {
    return [...this].reduce((sum, { users }) => sum + users, 0);
  }

  /** Puts an adapter that nobody uses yet at a place. */
  put(place: number, own: HostAdapter): Resident {
    const resident = { own, place, users: 0, lastUsed: 0 };
    this.#places[place] = resident;
    return resident;
  }

  empty(place: number): void {
    this.#places[place] = null;
  }

  dropIdle(): void {
    for (const resident of this) if (resident.users === 0) this.empty(resident.place);
  }

  move(resident: Resident, place: number): void {
    this.empty(resident.place);
    this.#places[place] = resident;
    resident.place = place;
  }

  /** Of those that nobody uses, the one that has been idle for longest. */
  longestIdle(): Resident | null {
    const idle = [...this].filter(({ users }) => users === 0);
    return idle.reduce<Resident | null>(
      (oldest, each) => (oldest && oldest.lastUsed <= each.lastUsed ? oldest : each),
      null,
    );
  }

  /** A place for a new adapter: inside the window of used places, then beside it, free ones first, then the longest idle. -1: all in use. */
  choose(): number {
    const window = this.#window();
    const outside = (place: number): number => (window ? Math.max(0, window.first - place, place - window.last) : 0);
    let best = -1;
    for (const [place, resident] of this.#places.entries()) {
      if (resident?.users) continue;
      const nearer = best < 0 ? -1 : outside(place) - outside(best);
      if (nearer < 0 || (nearer === 0 && isIdler(resident, this.#places[best] ?? null))) best = place;
    }
    return best;
  }

  /** The last adapter in use and a place before it that nobody uses, if there is one. */
  scattered(): { readonly moving: Resident; readonly hole: number } | null {
    const window = this.#window();
    const moving = window && this.#places[window.last];
    if (!window || !moving) return null;
    const hole = this.#places.findIndex(
      (resident, place) => place > window.first && place < window.last && !resident?.users,
    );
    return hole < 0 ? null : { moving, hole };
  }

  /** From the first to the last place in use. */
  #window(): { readonly first: number; readonly last: number } | null {
    const used = [...this].filter(({ users }) => users > 0);
    const [first] = used;
    const last = used.at(-1);
    return first && last ? { first: first.place, last: last.place } : null;
  }
}

/** Whether the first place is the better one to take: free, or idle for longer. */
function isIdler(one: Resident | null, other: Resident | null): boolean {
  if (one === null || other === null) return one === null && other !== null;
  return one.lastUsed < other.lastUsed;
}
