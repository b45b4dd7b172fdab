/** An ordered queue between a writer and one reader that waits for it. Its bound is the writer's business. */

/** Iterate it once. What was pushed before the end or the fault is delivered first. */
export class AsyncQueue<T extends NonNullable<unknown>> implements AsyncIterable<T> {
  #items: T[] = [];
  #next = 0;
  #ending: { readonly error: Error | null } | null = null;
  #wake: (() => void) | null = null;

  /** Items that nobody has read yet. */
  get size(): number {
    return this.#items.length - this.#next;
  }

  /** Ignored after the end. */
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
      for (let item = this.#items[this.#next]; item !== undefined; item = this.#items[this.#next]) {
        this.#next++;
        yield item;
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
