/** The CPU as a device: its memory is the host's, so nothing is staged and nobody waits for a turn. */
import { assert } from "../../base/errors.js";
import { elementCount } from "../../tensor/shape.js";
import { Tensor, type TensorArray, type TensorType } from "../tensor.js";
import type { Bindable, Device, DeviceRows, DeviceTensor, RowPart } from "./device.js";

class Cpu implements Device {
  readonly kind = "cpu";
  readonly name = "CPU";
  readonly software = false;
  readonly capabilities = {
    hostMemory: true,
    offsetViews: true,
    softcap: true,
    integerProducts: true,
    float16: false,
    halfTables: true,
    wideAttention: true,
    capture: null,
    longChunks: true,
  };
  readonly memoryBytes = null;
  readonly allocatedBytes = 0;
  readonly provider = null;

  allocate<T extends TensorType>(type: T, shape: readonly number[]): Tensor<T> {
    return Tensor.zeros(type, shape);
  }

  async upload(copies: readonly (readonly [Bindable, DeviceTensor])[]): Promise<void> {
    for (const [from, to] of copies) bytesOf(to).set(bytesOf(from));
  }

  async download(from: DeviceTensor, into: Tensor): Promise<void> {
    const target = bytesOf(into);
    target.set(bytesOf(from).subarray(0, target.length));
  }

  rows(count: number): DeviceRows {
    return new HostRows(count);
  }

  turn<T>(job: () => Promise<T>): Promise<T> {
    return job();
  }

  onLost(): () => void {
    return () => {};
  }

  [Symbol.dispose](): void {}
}

/** The default device. */
export const cpu: Device = new Cpu();

function bytesOf(tensor: Bindable): Uint8Array {
  assert(tensor instanceof Tensor, "the CPU copies between tensors of the host");
  const { data } = tensor;
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

/** Rows where they lie: a layout is the row itself. */
class HostRows implements DeviceRows {
  readonly count: number;
  readonly #tensors = new Map<string, Tensor>();
  readonly #entered = new Map<number, ReadonlyMap<string, Tensor>>();

  constructor(count: number) {
    this.count = count;
  }

  get names(): readonly string[] {
    return [...this.#tensors.keys()];
  }

  add(name: string, type: TensorType, row: readonly number[]): void {
    this.#tensors.set(name, Tensor.zeros(type, [this.count, ...row]));
  }

  view(name: string, first: number, count: number): Tensor {
    return this.#tensor(name).rows(first, count);
  }

  layout<T extends TensorType>(name: string, type: T, first: number, count: number): TensorArray<T> {
    const tensor = this.#tensor(name);
    assert(tensor.type === type, `${name} holds ${tensor.type}`);
    const stride = elementCount(tensor.shape.slice(1));
    return tensor.data.subarray(first * stride, (first + count) * stride) as TensorArray<T>;
  }

  async write(): Promise<void> {}

  async copy(from: number, to: number, part?: RowPart): Promise<void> {
    for (const { shape, data } of this.#tensors.values()) {
      const stride = elementCount(shape.slice(1));
      const step = part ? elementCount(shape.slice(part.axis)) : stride;
      const size = part ? part.count * elementCount(shape.slice(part.axis + 1)) : stride;
      for (let at = 0; at < stride; at += step) {
        data.copyWithin(to * stride + at, from * stride + at, from * stride + at + size);
      }
    }
  }

  async clear(row: number): Promise<void> {
    for (const tensor of this.#tensors.values()) bytesOf(tensor.rows(row, 1)).fill(0);
  }

  async enter(row: number): Promise<ReadonlyMap<string, Tensor>> {
    const known = this.#entered.get(row);
    if (known) return known;
    const views = new Map(this.names.map((name) => [name, this.view(name, row, 1)]));
    this.#entered.set(row, views);
    return views;
  }

  async settle(): Promise<void> {}

  #tensor(name: string): Tensor {
    const tensor = this.#tensors.get(name);
    assert(tensor, `the rows have ${name}`);
    return tensor;
  }

  /** Host memory goes when nobody reads it any more: views of it may outlive the rows. */
  [Symbol.dispose](): void {
    this.#tensors.clear();
    this.#entered.clear();
  }
}
