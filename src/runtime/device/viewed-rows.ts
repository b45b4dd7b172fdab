/** Rows of tensors on a device whose views may begin anywhere: each row is a view, and a copy moves it. */
import { assert } from "../../base/errors.js";
import { elementCount } from "../../tensor/shape.js";
import { Tensor, type TensorArray, type TensorType } from "../tensor.js";
import type { Device, DeviceRows, DeviceTensor } from "./device.js";

interface Entry {
  readonly type: TensorType;
  readonly row: readonly number[];
  readonly tensor: DeviceTensor;
  /** What rows are written from, in host memory. */
  layout: Tensor | null;
}

export class ViewedRows implements DeviceRows {
  readonly count: number;
  readonly #device: Device;
  readonly #entries = new Map<string, Entry>();
  /** One row each. */
  readonly #rows = new Map<number, ReadonlyMap<string, DeviceTensor>>();

  constructor(device: Device, count: number) {
    this.#device = device;
    this.count = count;
  }

  get names(): readonly string[] {
    return [...this.#entries.keys()];
  }

  add(name: string, type: TensorType, row: readonly number[]): void {
    assert(this.#rows.size === 0, "tensors are added before rows move");
    this.#entries.set(name, { type, row, tensor: this.#device.allocate(type, [this.count, ...row]), layout: null });
  }

  view(name: string, first: number, count: number): DeviceTensor {
    const { row, tensor } = this.#entry(name);
    return tensor.as([count, ...row], first * elementCount(row));
  }

  layout<T extends TensorType>(name: string, type: T, _first: number, count: number): TensorArray<T> {
    const entry = this.#entry(name);
    assert(entry.type === type, `${name} holds ${entry.type}`);
    if ((entry.layout?.shape[0] ?? 0) < count) entry.layout = Tensor.zeros(type, [count, ...entry.row]);
    const { data } = entry.layout as Tensor;
    return data.subarray(0, count * elementCount(entry.row)) as TensorArray<T>;
  }

  async write(first: number, count: number): Promise<void> {
    const views = this.names.map((name) => this.view(name, first, count));
    try {
      await this.#device.upload(
        [...this.#entries.values()].map(({ layout, type, row }, i) => {
          assert(layout, "the rows were laid out");
          return [Tensor.over(type, [count, ...row], layout.data.buffer), views[i] as DeviceTensor];
        }),
      );
    } finally {
      for (const view of views) view[Symbol.dispose]();
    }
  }

  async copy(from: number, to: number): Promise<void> {
    const [sources, targets] = [await this.enter(from), await this.enter(to)];
    await this.#device.upload(
      this.names.map((name) => [sources.get(name) as DeviceTensor, targets.get(name) as DeviceTensor]),
    );
  }

  async clear(row: number): Promise<void> {
    for (const [name, { type }] of this.#entries) this.layout(name, type, row, 1).fill(0 as never);
    await this.write(row, 1);
  }

  async enter(row: number): Promise<ReadonlyMap<string, DeviceTensor>> {
    const known = this.#rows.get(row);
    if (known) return known;
    const views = new Map(this.names.map((name) => [name, this.view(name, row, 1)]));
    this.#rows.set(row, views);
    return views;
  }

  async settle(): Promise<void> {}

  #entry(name: string): Entry {
    const entry = this.#entries.get(name);
    assert(entry, `the rows have ${name}`);
    return entry;
  }

  [Symbol.dispose](): void {
    for (const views of this.#rows.values()) for (const view of views.values()) view[Symbol.dispose]();
    this.#rows.clear();
    for (const { tensor } of this.#entries.values()) tensor[Symbol.dispose]();
    this.#entries.clear();
  }
}
