/** Which adapters have a label of their own in the metrics: the busiest few. The rest share one, so that series stay bounded. */

/** Names without a label that are counted, for each that has one. */
const watchedPerLabel = 8;
/** Labels of what is no single adapter: one of such a name is counted among the rest. */
const sharedLabels: ReadonlySet<string> = new Set(["other", "none"]);

export class AdapterLabels {
  readonly #limit: number;
  readonly #onDrop: (label: string) => void;
  readonly #labelled = new Map<string, number>();
  readonly #watched = new Map<string, number>();

  /** `onDrop` is told of a label whose series have to go. */
  constructor(limit: number, onDrop: (label: string) => void) {
    this.#limit = limit;
    this.#onDrop = onDrop;
  }

  /** The label to count one request of an adapter under. A newcomer twice as busy as the idlest label takes its place. */
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

  /** The label that an adapter has now. */
  find(name: string): string {
    return this.#labelled.has(name) ? name : "other";
  }

  /** Drops every name whose adapter is gone. */
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
