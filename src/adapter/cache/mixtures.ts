/**
 * Mixtures: weighted sums of stored adapters, each known by a digest of its parts. A request holds its mixture, so that it can be
 * loaded; one that nobody holds is known for as long as the cache keeps it. Knows no names and no files.
 */
import { createHash } from "node:crypto";
import { assert, LorikeetError } from "../../base/errors.js";

/** One adapter of a mixture, by the digest of its weights. */
export interface WeightedPart {
  readonly weightsDigest: string;
  readonly weight: number;
}

export interface HeldMixture {
  readonly digest: string;
  /** Idempotent. */
  release(): void;
}

interface Entry {
  readonly parts: readonly WeightedPart[];
  holds: number;
}

export class Mixtures {
  readonly #entries = new Map<string, Entry>();
  readonly #isCached: (digest: string) => boolean;

  constructor(isCached: (digest: string) => boolean) {
    this.#isCached = isCached;
  }

  /**
   * Makes a mixture known until it is released. The order of its parts does not matter. Throws LorikeetError `mixtures_busy` if
   * `maxHeld` others are held: each of them is loaded, cached and takes turns as an adapter does.
   */
  hold(parts: readonly WeightedPart[], maxHeld: number): HeldMixture {
    const ordered = inOrder(parts);
    const digest = digestOf(ordered);
    if (!this.#entries.get(digest)?.holds) this.#requireRoom(maxHeld);
    const entry = this.#entries.get(digest) ?? { parts: ordered, holds: 0 };
    this.#entries.set(digest, entry);
    entry.holds++;
    let isReleased = false;
    return {
      digest,
      release: () => {
        if (isReleased) return;
        isReleased = true;
        entry.holds--;
        this.#prune();
      },
    };
  }

  /** In the order in which they are composed; null if the digest is not a known mixture's. */
  partsOf(digest: string): readonly WeightedPart[] | null {
    return this.#entries.get(digest)?.parts ?? null;
  }

  /** Forgets the mixtures that have a part with these weights, unless they are held. Returns the digests of all of them. */
  forget(weightsDigest: string): string[] {
    const digests: string[] = [];
    for (const [digest, { parts, holds }] of this.#entries) {
      if (parts.every((part) => part.weightsDigest !== weightsDigest)) continue;
      digests.push(digest);
      if (holds === 0) this.#entries.delete(digest);
    }
    return digests;
  }

  /** Known mixtures. */
  get size(): number {
    return this.#entries.size;
  }

  #requireRoom(maxHeld: number): void {
    let held = 0;
    for (const { holds } of this.#entries.values()) if (holds > 0) held++;
    if (held < maxHeld) return;
    throw new LorikeetError(
      "mixtures_busy",
      `At most ${maxHeld} different mixtures of adapters may be in use at once.`,
      {
        param: "adapters",
        found: held + 1,
        allowed: maxHeld,
      },
    );
  }

  #prune(): void {
    for (const [digest, { holds }] of this.#entries) {
      assert(holds >= 0, "a mixture is released as often as it is held");
      if (holds === 0 && !this.#isCached(digest)) this.#entries.delete(digest);
    }
  }
}

function inOrder(parts: readonly WeightedPart[]): readonly WeightedPart[] {
  return parts.toSorted((a, b) =>
    a.weightsDigest === b.weightsDigest ? a.weight - b.weight : a.weightsDigest < b.weightsDigest ? -1 : 1,
  );
}

/** Of the parts' digests and weights. It is never that of an adapter, whose hash begins with other bytes. */
function digestOf(parts: readonly WeightedPart[]): string {
  const pairs = parts.map(({ weightsDigest, weight }) => [weightsDigest, weight]);
  return `sha256:${createHash("sha256")
    .update(`mixture\n${JSON.stringify(pairs)}`)
    .digest("hex")}`;
}
