/** Adapters that runs can use at once: a place in the stacks for each, reused for the adapter that was used least recently. */

import type { HostTaskAdapter } from "../../adapter/types.js";
import { assert, LorikeetError } from "../../base/errors.js";
import type { BlockPlan } from "../../model/task/blocked/plan.js";
import type { TaskModule } from "../../model/task/target-modules.js";
import { type FoldedAdapter, foldAdapter } from "./folded.js";
import { placeBytes, type StackPlan, widenedPlan } from "./stack-plan.js";
import { Stacks } from "./stacks.js";

export interface BankOptions {
  readonly modules: readonly TaskModule[];
  /** Places of a batch, without the base's. */
  readonly maxPlaces: number;
  readonly maxBytes: number;
  /** Of a graph whose convolutions run in blocks. */
  readonly blocks?: BlockPlan | null;
}

const none: StackPlan = new Map();

/**
 * The stacks have what the adapters so far needed, and grow with a new one; where they would not have room for all adapters of a run then,
 * they begin again with what that run needs. Nothing else uses them while adapters are placed: the engine does that between two runs.
 */
export class TaskBank {
  readonly #options: BankOptions;
  readonly #folding = new WeakMap<HostTaskAdapter, Promise<FoldedAdapter>>();
  readonly #folded = new WeakMap<HostTaskAdapter, FoldedAdapter>();
  #plan = none;
  #stacks: Stacks | null = null;
  /** Digests by place, from place 1 on, least recently used first. */
  #placed = new Map<string, number>();

  constructor(options: BankOptions) {
    this.#options = options;
  }

  get #blocks(): BlockPlan | null {
    return this.#options.blocks ?? null;
  }

  /** Places for adapters in stacks of this plan. */
  #placesIn(plan: StackPlan): number {
    const { maxPlaces, maxBytes } = this.#options;
    return Math.min(maxPlaces, Math.floor(maxBytes / Math.max(1, placeBytes(plan, this.#blocks))));
  }

  /** Stacks with a place for each: with room for the adapters before them too if possible. null: there are none. */
  #planFor(adapters: readonly FoldedAdapter[]): StackPlan | null {
    for (const plan of [this.#plan, none]) {
      const wider = adapters.reduce(widenedPlan, plan);
      if (this.#placesIn(wider) >= adapters.length) return wider;
    }
    return null;
  }

  /** Whether these prepared adapters can be in use at once. One alone always can. */
  holds(adapters: readonly HostTaskAdapter[]): boolean {
    if (adapters.every(({ digest }) => this.#placed.has(digest))) return true;
    const folded = adapters.map((adapter) => {
      const found = this.#folded.get(adapter);
      assert(found, "a prepared adapter is folded");
      return found;
    });
    return this.#planFor(folded) !== null;
  }

  get bytes(): number {
    return this.#stacks ? (this.#placesIn(this.#plan) + 1) * placeBytes(this.#plan, this.#blocks) : 0;
  }

  get digests(): string[] {
    return [...this.#placed.keys()];
  }

  /** Folds an adapter with the base, once. Throws `adapter_unsupported`, or `adapter_too_large` for one that the stacks cannot hold. */
  async prepare(adapter: HostTaskAdapter): Promise<void> {
    const folded = await this.#foldedOf(adapter);
    const bytes = placeBytes(widenedPlan(none, folded), this.#blocks);
    const { maxBytes } = this.#options;
    if (bytes <= maxBytes) return;
    throw new LorikeetError(
      "adapter_too_large",
      `In use, this adapter takes ${bytes} bytes, more than the ${maxBytes} of --active-adapter-bytes.`,
      { found: bytes, allowed: maxBytes },
    );
  }

  /** The stacks with these prepared adapters, which `holds` has held, and the place of each. */
  async place(adapters: readonly HostTaskAdapter[]): Promise<{ stacks: Stacks; places: number[] }> {
    const folded = await Promise.all(adapters.map((adapter) => this.#foldedOf(adapter)));
    const plan = this.#planFor(folded);
    assert(plan, "there is a place for each adapter of a batch");
    if (plan !== this.#plan || !this.#stacks) {
      this.#plan = plan;
      this.#placed = new Map();
      this.#stacks = null; // its memory may be needed for the next
      this.#stacks = await Stacks.create(plan, this.#placesIn(plan), this.#blocks);
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
    const known = this.#folding.get(adapter);
    if (known) return known;
    const folding = foldAdapter(adapter, this.#options.modules);
    this.#folding.set(adapter, folding);
    folding.then(
      (folded) => this.#folded.set(adapter, folded),
      () => this.#folding.delete(adapter),
    );
    return folding;
  }

  #freePlace(wanted: ReadonlySet<string>): number {
    if (this.#placed.size < this.#placesIn(this.#plan)) {
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
