/** The stacks as a session reads them: where they lie on the CPU, and on a card as copies that follow them. */

import { valueAt } from "../../base/list.js";
import type { Bindable, Device, DeviceTensor } from "../../runtime/device/device.js";
import type { Stacks } from "./stacks.js";

/** Call everything in a turn of the device. */
export class DeviceStacks implements Disposable {
  readonly #device: Device;
  readonly #copies = new Map<string, DeviceTensor>();
  /** What the copies are of. */
  #stacks: Stacks | null = null;
  #version = 0;

  constructor(device: Device) {
    this.#device = device;
  }

  /** By name, up to date. Throws `device_memory`. */
  async of(stacks: Stacks): Promise<ReadonlyMap<string, Bindable>> {
    if (this.#device.capabilities.hostMemory) return stacks.tensors;
    if (this.#stacks !== stacks) {
      this[Symbol.dispose]();
      for (const [name, { type, shape }] of stacks.tensors) this.#copies.set(name, this.#device.allocate(type, shape));
    }
    if (this.#stacks !== stacks || this.#version !== stacks.version) {
      const { version } = stacks;
      await this.#device.upload([...stacks.tensors].map(([name, from]) => [from, valueAt(this.#copies, name)]));
      this.#stacks = stacks;
      this.#version = version;
    }
    return this.#copies;
  }

  [Symbol.dispose](): void {
    for (const copy of this.#copies.values()) copy[Symbol.dispose]();
    this.#copies.clear();
    this.#stacks = null;
  }
}
