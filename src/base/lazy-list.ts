/** A list whose items are made when they are asked for, each time anew: a large one never lies whole in memory. */

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

/** The items through a function: at once where they are few, else a lazy list. */
export function mapLazily<T, U>(items: readonly T[], map: (item: T) => U, few = 256): Iterable<U> {
  if (items.length <= few) return items.map(map);
  return new LazyList(function* () {
    for (const item of items) yield map(item);
  });
}
