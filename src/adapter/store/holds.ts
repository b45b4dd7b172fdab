/** Counted holds on digests: who still needs a version that may have lost its name. Knows no files. */

import { assert } from "../../base/errors.js";

export class Holds {
  readonly #counts = new Map<string, number>();
  readonly #onFree: (digest: string) => void;

  constructor(onFree: (digest: string) => void) {
    this.#onFree = onFree;
  }

  /** Holds a digest until the returned function is called, which may be called again without effect. */
  acquire(digest: string): () => void {
    this.#counts.set(digest, (this.#counts.get(digest) ?? 0) + 1);
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      this.#release(digest);
    };
  }

  has(digest: string): boolean {
    return this.#counts.has(digest);
  }

  digests(): string[] {
    return [...this.#counts.keys()];
  }

  #release(digest: string): void {
    const count = this.#counts.get(digest);
    assert(count !== undefined && count > 0, `the hold on ${digest} was counted`);
    if (count > 1) this.#counts.set(digest, count - 1);
    else {
      this.#counts.delete(digest);
      this.#onFree(digest);
    }
  }
}
