/** What adapters of the bank have besides products, each kind with a row for every place of every class. */

import type { HostAdapter } from "../../adapter/types.js";
import type { Norm } from "../../model/blueprint.js";
import type { ModuleGroup } from "../../model/serving/adapters.js";
import { GainStack, gainBytes } from "./gain-stack.js";

export interface BankGainsOptions {
  readonly groups: readonly ModuleGroup[];
  readonly headGroups: readonly ModuleGroup[];
  readonly norms: readonly Norm[];
  /** Of all classes. */
  readonly places: number;
}

export class BankGains {
  readonly layers: GainStack;
  /** Of a tied head. */
  readonly head: GainStack;
  /** Factors and biases. */
  readonly norms: GainStack;
  readonly #headGroups: readonly ModuleGroup[];
  readonly #bytes: { readonly layers: number; readonly head: number; readonly norms: number };

  constructor({ groups, headGroups, norms, places }: BankGainsOptions) {
    const normGroups = norms.map(({ path, size }) => {
      return { key: path, inFeatures: size, parts: [{ path, inFeatures: size, outFeatures: size }] };
    });
    this.layers = new GainStack(groups, places);
    this.head = new GainStack(headGroups, places);
    this.norms = new GainStack(normGroups, places);
    this.#headGroups = headGroups;
    this.#bytes = { layers: gainBytes(groups), head: gainBytes(headGroups), norms: gainBytes(normGroups) };
  }

  /** What one adapter takes. */
  bytesOf(adapter: HostAdapter): number {
    const { layers, head, norms } = this.#bytes;
    const ofHead = adaptsAny(this.#headGroups, adapter) ? head : 0;
    return (adapter.hasGains ? layers + ofHead : 0) + (adapter.changesNorms ? norms : 0);
  }

  write(row: number, adapter: HostAdapter): void {
    for (const stack of this.#stacksOf(adapter)) stack.write(row, adapter);
  }

  async copy(from: number, to: number, adapter: HostAdapter): Promise<void> {
    for (const stack of this.#stacksOf(adapter)) await stack.copy(from, to);
  }

  #stacksOf(adapter: HostAdapter): readonly GainStack[] {
    const ofLayers = adaptsAny(this.#headGroups, adapter) ? [this.layers, this.head] : [this.layers];
    return [...(adapter.hasGains ? ofLayers : []), ...(adapter.changesNorms ? [this.norms] : [])];
  }
}

/** Whether an adapter has a module of these groups of one layer each. */
export const adaptsAny = (groups: readonly ModuleGroup[], { modules }: HostAdapter): boolean =>
  groups.some(({ key }) => modules.has(key));
