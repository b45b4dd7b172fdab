/** An ordered queue between one writer side and one reader; it ends or fails once. Its bound is its writers': tokens of one request. */

/** Iterate it once. What was pushed before the end or the fault is delivered first. */
export class PartQueue<T> implements AsyncIterable<T> {
  #items: T[] = [];
  #next = 0;
  #ending: { readonly error: Error | null } | null = null;
  #wake: (() => void) | null = null;

  push(item: T): void {
    if (this.#ending) return;
    this.#items.push(item);
    this.#wake?.();
  }

  /** The first ending counts. */
  end(error: Error | null): void {
    this.#ending ??= { error };
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    while (true) {
      while (this.#next < this.#items.length) {
        const item = this.#items[this.#next++];
        if (item !== undefined) yield item;
      }
      this.#items = [];
      this.#next = 0;
      if (this.#ending?.error) throw this.#ending.error;
      if (this.#ending) return;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = null;
    }
  }
}
