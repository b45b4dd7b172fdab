/** Counted holds on adapters, by digest: a held version is kept even if it no longer has a name. Knows no files. */

import { assert } from "../../base/errors.js";
import type { AdapterRecord } from "../types.js";

/** A stored version, or a folder that is only read. */
export type Held = Pick<AdapterRecord, "name" | "source" | "weightsDigest">;

export class Holds {
  readonly #counts = new Map<string, number>();
  readonly #held = new Map<string, Held>();
  readonly #onFree: (digest: string, held: Held) => void;

  constructor(onFree: (digest: string, held: Held) => void) {
    this.#onFree = onFree;
  }

  /** Holds an adapter until the returned function is called. Further calls have no effect. */
  acquire({ digest, name, source, weightsDigest }: Held & Pick<AdapterRecord, "digest">): () => void {
    if (this.#held.get(digest)?.source !== "store") this.#held.set(digest, { name, source, weightsDigest });
    this.#counts.set(digest, (this.#counts.get(digest) ?? 0) + 1);
    let isHeld = true;
    return () => {
      if (!isHeld) return;
      isHeld = false;
      this.#release(digest);
    };
  }

  has(digest: string): boolean {
    return this.#counts.has(digest);
  }

  digests(): string[] {
    return [...this.#counts.keys()];
  }

  /** Whether anything with these weights is held. */
  isComputing(weightsDigest: string): boolean {
    return [...this.#held.values()].some((held) => held.weightsDigest === weightsDigest);
  }

  /** The digests of held versions with these weights, without folders that are only read. */
  versionsOf(weightsDigest: string): string[] {
    const held = [...this.#held].filter(([, { source }]) => source === "store");
    return held.filter(([, each]) => each.weightsDigest === weightsDigest).map(([digest]) => digest);
  }

  /** A held folder, other than a stored version's, with these weights; undefined if there is none. */
  folderOf(weightsDigest: string): Held | undefined {
    return [...this.#held.values()].find((held) => held.source !== "store" && held.weightsDigest === weightsDigest);
  }

  #release(digest: string): void {
    const [count, held] = [this.#counts.get(digest), this.#held.get(digest)];
    assert(held && count !== undefined && count > 0, `the hold on ${digest} was counted`);
    if (count > 1) this.#counts.set(digest, count - 1);
    else {
      this.#counts.delete(digest);
      this.#held.delete(digest);
      this.#onFree(digest, held);
    }
  }
}
