/** Adapters that runs can use at once: a place in the stacks for each, reused for the adapter that was used least recently. */

import type { HostTaskAdapter } from "../../adapter/types.js";
import { LorikeetError } from "../../base/errors.js";
import type { BlockPlan } from "../../model/task/blocked/plan.js";
import type { TaskModule } from "../../model/task/target-modules.js";
import { type FoldedAdapter, foldAdapter } from "./folded.js";
import { placeBytes, type StackPlan, Stacks, widenedPlan } from "./stacks.js";

export interface BankOptions {
  readonly modules: readonly TaskModule[];
  /** Places of a batch, without the base's. */
  readonly maxPlaces: number;
  readonly maxBytes: number;
  /** Of a graph whose convolutions run in blocks. */
  readonly blocks?: BlockPlan | null;
}

/**
 * The stacks have what the adapters so far needed, and grow with a new one. Nothing else uses them while adapters are placed: the
 * engine does that between two runs.
 */
export class TaskBank {
  readonly #options: BankOptions;
  readonly #folded = new WeakMap<HostTaskAdapter, Promise<FoldedAdapter>>();
  #plan: StackPlan = new Map();
  #stacks: Stacks | null = null;
  /** Digests by place, from place 1 on, least recently used first. */
  #placed = new Map<string, number>();

  constructor(options: BankOptions) {
    this.#options = options;
  }

  /** How many adapters fit at once. At least one, else `prepare` would have refused the adapters. */
  get places(): number {
    return this.#placesIn(this.#plan);
  }

  get #blocks(): BlockPlan | null {
    return this.#options.blocks ?? null;
  }

  #placesIn(plan: StackPlan): number {
    const { maxPlaces, maxBytes } = this.#options;
    return Math.max(1, Math.min(maxPlaces, Math.floor(maxBytes / Math.max(1, placeBytes(plan, this.#blocks)))));
  }

  /** `places` once these adapters are among those that were used. Throws what `prepare` throws. */
  async placesWith(adapters: readonly HostTaskAdapter[]): Promise<number> {
    for (const adapter of adapters) await this.prepare(adapter);
    const folded = await Promise.all(adapters.map((adapter) => this.#foldedOf(adapter)));
    return this.#placesIn(folded.reduce(widenedPlan, this.#plan));
  }

  get bytes(): number {
    return this.#stacks ? (this.places + 1) * placeBytes(this.#plan, this.#blocks) : 0;
  }

  get digests(): string[] {
    return [...this.#placed.keys()];
  }

  /** Folds an adapter with the base, once. Throws `adapter_unsupported`, or `adapter_too_large` for one that the stacks cannot hold. */
  async prepare(adapter: HostTaskAdapter): Promise<void> {
    const folded = await this.#foldedOf(adapter);
    const bytes = placeBytes(widenedPlan(this.#plan, folded), this.#blocks);
    const { maxBytes } = this.#options;
    if (bytes <= maxBytes) return;
    throw new LorikeetError(
      "adapter_too_large",
      `With this adapter, a place for an adapter in use takes ${bytes} bytes, more than the ${maxBytes} of --active-adapter-bytes.`,
      { found: bytes, allowed: maxBytes },
    );
  }

  /** The stacks with these prepared adapters, at most `places` of them, and the place of each. */
  async place(adapters: readonly HostTaskAdapter[]): Promise<{ stacks: Stacks; places: number[] }> {
    const folded = await Promise.all(adapters.map((adapter) => this.#foldedOf(adapter)));
    const plan = folded.reduce(widenedPlan, this.#plan);
    if (plan !== this.#plan || !this.#stacks) {
      this.#plan = plan;
      this.#placed = new Map();
      this.#stacks = null; // its memory may be needed for the next
      this.#stacks = await Stacks.create(plan, this.places, this.#blocks);
    }
    const stacks = this.#stacks;
    const wanted = new Set(folded.map(({ digest }) => digest));
    const places = folded.map((adapter) => {
      const place = this.#placed.get(adapter.digest) ?? this.#freePlace(wanted);
      if (!this.#placed.has(adapter.digest)) stacks.write(place, adapter);
      this.#placed.delete(adapter.digest);
      this.#placed.set(adapter.digest, place);
      return place;
    });
    return { stacks, places };
  }

  #foldedOf(adapter: HostTaskAdapter): Promise<FoldedAdapter> {
    const known = this.#folded.get(adapter);
    if (known) return known;
    const folding = foldAdapter(adapter, this.#options.modules);
    this.#folded.set(adapter, folding);
    folding.catch(() => this.#folded.delete(adapter));
    return folding;
  }

  #freePlace(wanted: ReadonlySet<string>): number {
    if (this.#placed.size < this.places) {
      const taken = new Set(this.#placed.values());
      for (let place = 1; ; place++) if (!taken.has(place)) return place;
    }
    for (const [digest, place] of this.#placed) {
      if (wanted.has(digest)) continue;
      this.#placed.delete(digest);
      return place;
    }
    throw new LorikeetError("internal", "Invariant broken: a batch has no more adapters than there are places");
  }
}
