/** A list whose items are computed at each iteration, so that a large list never lies in memory as a whole. */

export class LazyList<T> implements Iterable<T> {
  readonly #make: () => Iterable<T>;

  constructor(make: () => Iterable<T>) {
    this.#make = make;
  }

  [Symbol.iterator](): Iterator<T> {
    return this.#make()[Symbol.iterator]();
  }

  toJSON(): T[] {
    return [...this];
  }
}

/** Maps the items: at once if there are at most `few`, else lazily. */
export function mapLazily<T, U>(items: readonly T[], map: (item: T) => U, few = 256): Iterable<U> {
  if (items.length <= few) return items.map(map);
  return new LazyList(function* () {
    for (const item of items) yield map(item);
  });
}
