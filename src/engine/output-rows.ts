/** The rows of one output of a step: where the graph writes them, and where they are read. On the CPU the same memory. */

import { at } from "../base/list.js";
import type { Device, DeviceTensor } from "../runtime/device/device.js";
import { Tensor } from "../runtime/tensor.js";

export interface RowsOfStep {
  readonly there: DeviceTensor;
  readonly here: Tensor<"float32">;
}

export class OutputRows implements Disposable {
  readonly #device: Device;
  readonly #columns: number;
  readonly #leastRows: number;
  /** [i]: the first i + 1 rows. */
  #views: RowsOfStep[] = [];

  /** `leastRows`: how many rows the first allocation has. */
  constructor(device: Device, columns: number, leastRows: number) {
    this.#device = device;
    this.#columns = columns;
    this.#leastRows = leastRows;
  }

  /** The first rows of the one buffer, which grows to what was asked for most. */
  of(rows: number): RowsOfStep {
    if (this.#views.length < rows) this.#grow(Math.max(rows, this.#leastRows));
    return at(this.#views, rows - 1);
  }

  /** In a turn. */
  async read({ there, here }: RowsOfStep): Promise<Float32Array> {
    if (there !== here) await this.#device.download(there, here);
    return here.data;
  }

  #grow(size: number): void {
    const here = Tensor.zeros("float32", [size, this.#columns]);
    this[Symbol.dispose]();
    const isHost = this.#device.capabilities.hostMemory;
    const there = isHost ? here : this.#device.allocate("float32", [size, this.#columns]);
    this.#views = Array.from({ length: size }, (_, i) => {
      const own = here.prefix(i + 1);
      if (isHost) return { here: own, there: own };
      return { here: own, there: i + 1 === size ? there : there.prefix(i + 1) };
    });
  }

  /** Views go before the tensor that they are of, which is the last. */
  [Symbol.dispose](): void {
    for (const { there } of this.#views) there[Symbol.dispose]();
    this.#views = [];
  }
}
