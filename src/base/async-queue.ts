/** An ordered queue between a writer and one reader that awaits items. The queue is unbounded: the writer limits what it pushes. */

/** Iterate it once. Items pushed before the end or the error are delivered first. */
export class AsyncQueue<T extends NonNullable<unknown>> implements AsyncIterable<T> {
  #items: T[] = [];
  #next = 0;
  #ending: { readonly error: Error | null } | null = null;
  #wake: (() => void) | null = null;

  /** Items not read yet. */
  get size(): number {
    return this.#items.length - this.#next;
  }

  /** Appends an item. Ignored after the end. */
  push(item: T): void {
    if (this.#ending) return;
    this.#items.push(item);
    this.#wake?.();
  }

  /** Ends the queue, with an error or without. Later calls are ignored. */
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
