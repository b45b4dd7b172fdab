/** The adapters that sequences of an encoder-decoder hold: as many at once as the stacks have places for. */

import type { HostTaskAdapter } from "../../adapter/types.js";
import { assert } from "../../base/errors.js";
import type { ActiveSet, AdapterHold } from "../steps.js";
import type { TaskBank } from "../task/bank.js";

export interface TaskHold extends AdapterHold {
  readonly adapter: HostTaskAdapter;
}

interface Held {
  readonly adapter: HostTaskAdapter;
  users: number;
}

/** Holds are counted; the bank copies an adapter into the stacks when a step first needs it. */
export class HeldAdapters implements ActiveSet<HostTaskAdapter, TaskHold> {
  readonly scattered = false;
  readonly #bank: TaskBank;
  readonly #held = new Map<string, Held>();

  constructor(bank: TaskBank) {
    this.#bank = bank;
  }

  get bytes(): number {
    return this.#bank.bytes;
  }

  get digests(): readonly string[] {
    return this.#bank.digests;
  }

  get holds(): number {
    return [...this.#held.values()].reduce((sum, { users }) => sum + users, 0);
  }

  async acquire(adapter: HostTaskAdapter): Promise<TaskHold | null> {
    const { digest } = adapter;
    if (!this.#held.has(digest)) {
      const wanted = [...[...this.#held.values()].map((held) => held.adapter), adapter];
      for (const each of wanted) await this.#bank.prepare(each);
      if (!this.#bank.holds(wanted)) return null;
    }
    const held = this.#held.get(digest) ?? { adapter, users: 0 };
    this.#held.set(digest, held);
    held.users++;
    let isReleased = false;
    return {
      digest,
      adapter: held.adapter,
      release: () => {
        assert(!isReleased, "an adapter's hold is released once");
        isReleased = true;
        held.users--;
        if (held.users === 0) this.#held.delete(digest);
      },
    };
  }

  async compact(): Promise<void> {}
}
