/** Records the decode steps of an engine. */

import { at } from "../base/list.js";
import type { EngineObserver } from "../engine/types.js";

interface Step {
  readonly at: number;
  readonly adapters: number;
}

export class StepLog {
  #steps: Step[] = [];
  #waiting: (() => void)[] = [];

  readonly observer: EngineObserver = {
    step: ({ kind, adapters }) => {
      if (kind !== "decode") return;
      this.#steps.push({ at: performance.now(), adapters });
      for (const wake of this.#waiting.splice(0)) wake();
    },
  };

  clear(): void {
    this.#steps = [];
  }

  /** Resolves once `count` steps are recorded. */
  async until(count: number): Promise<void> {
    while (this.#steps.length < count) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  /** Milliseconds from each step's end to the next one's: the full cost of a step, including sampling and events. */
  decodeIntervals(): number[] {
    return this.#steps.slice(1).map((step, i) => step.at - at(this.#steps, i).at);
  }

  /** Distinct adapters of each step. */
  adapterCounts(): number[] {
    return this.#steps.map(({ adapters }) => adapters);
  }
}
