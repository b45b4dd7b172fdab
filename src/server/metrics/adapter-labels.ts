/** Gives each of the busiest adapters its own metric label. The rest share one, so that the number of series stays bounded. */

/** How many names without a label are counted for each name with one. */
const watchedPerLabel = 8;
/** Labels with a special meaning. An adapter with such a name is counted as `other`. */
const sharedLabels: ReadonlySet<string> = new Set(["other", "none"]);

export class AdapterLabels {
  readonly #limit: number;
  readonly #onDrop: (label: string) => void;
  readonly #labelled = new Map<string, number>();
  readonly #watched = new Map<string, number>();

  /** Calls `onDrop` with a label whose series must be removed. */
  constructor(limit: number, onDrop: (label: string) => void) {
    this.#limit = limit;
    this.#onDrop = onDrop;
  }

  /** Counts one request and returns its label. An adapter twice as busy as the least busy label replaces it. */
  use(name: string): string {
    if (sharedLabels.has(name)) return "other";
    const count = this.#labelled.get(name);
    if (count !== undefined || this.#labelled.size < this.#limit) {
      this.#labelled.set(name, (count ?? 0) + 1);
      return name;
    }
    const seen = (this.#watched.get(name) ?? 0) + 1;
    const [idlest, least] = this.#idlest();
    if (idlest === null || seen <= 2 * least) {
      this.#watch(name, seen);
      return "other";
    }
    this.#watched.delete(name);
    this.#drop(idlest);
    this.#labelled.set(name, seen);
    return name;
  }

  /** The adapter's current label. */
  find(name: string): string {
    return this.#labelled.has(name) ? name : "other";
  }

  /** Drops names whose adapters no longer exist. */
  prune(exists: (name: string) => boolean): void {
    for (const name of [...this.#labelled.keys()]) if (!exists(name)) this.#drop(name);
    for (const name of [...this.#watched.keys()]) if (!exists(name)) this.#watched.delete(name);
  }

  get size(): number {
    return this.#labelled.size;
  }

  #idlest(): [string | null, number] {
    let idlest: [string | null, number] = [null, 0];
    for (const [name, count] of this.#labelled) {
      if (idlest[0] === null || count < idlest[1]) idlest = [name, count];
    }
    return idlest;
  }

  #drop(name: string): void {
    this.#labelled.delete(name);
    this.#onDrop(name);
  }

  #watch(name: string, count: number): void {
    this.#watched.delete(name);
    this.#watched.set(name, count);
    if (this.#watched.size <= watchedPerLabel * this.#limit) return;
    const oldest = this.#watched.keys().next();
    if (!oldest.done) this.#watched.delete(oldest.value);
  }
}
