/** Constant tensors of the host as the device sees them: uploaded once, and dropped when more recent ones need the room. */
import { cpu } from "../runtime/device/cpu.js";
import type { Device, DeviceTensor } from "../runtime/device/device.js";
import type { Tensor } from "../runtime/tensor.js";

export class DeviceCopies implements Disposable {
  readonly #device: Device;
  readonly #limit: number;
  /** Least recently used first. */
  readonly #copies = new Map<Tensor, DeviceTensor>();

  constructor(device: Device = cpu, limit = 64) {
    this.#device = device;
    this.#limit = limit;
  }

  /** The copy of a tensor whose content does not change; on the CPU the tensor itself. In a turn. */
  async of(tensor: Tensor): Promise<DeviceTensor> {
    if (this.#device.capabilities.hostMemory) return tensor;
    const known = this.#copies.get(tensor);
    const copy = known ?? this.#device.allocate(tensor.type, tensor.shape);
    if (!known) await this.#device.upload([[tensor, copy]]);
    this.#copies.delete(tensor);
    this.#copies.set(tensor, copy);
    for (const [oldest, old] of this.#copies) {
      if (this.#copies.size <= this.#limit) break;
      this.#copies.delete(oldest);
      old[Symbol.dispose]();
    }
    return copy;
  }

  /** In a turn. */
  [Symbol.dispose](): void {
    for (const copy of this.#copies.values()) copy[Symbol.dispose]();
    this.#copies.clear();
  }
}
