/**
 * A graphics card through ONNX Runtime's WebGPU provider: any vendor's, over Vulkan, Metal or D3D12. All sessions of the provider
 * share one device and one command queue that takes one caller at a time, so everything here happens in turns.
 */
import { Semaphore } from "../../base/async.js";
import { assert, LorikeetError } from "../../base/errors.js";
import { ort, type Pointer } from "../api.js";
import { Tensor, type TensorType, tensorBytes, tensorCode } from "../tensor.js";
import { CardTensor, viewOf } from "./card-tensor.js";
import type { Bindable, Device, DeviceCapabilities, DeviceRows, DeviceTensor } from "./device.js";
import { computesInHalf } from "./half-probe.js";
import { MemoryMarker } from "./memory-marker.js";
import { StagedRows } from "./staged-rows.js";

/** A card, as the survey of the drivers describes it. */
export interface Card {
  readonly name: string;
  readonly software: boolean;
  /** Bytes of its memory; null if unknown. */
  readonly memoryBytes: number | null;
  /** Its driver offers float16; null if unknown. */
  readonly fp16?: boolean | null;
}

/** Below this size an allocation is not proven by a marker: it comes from memory that the provider already holds. */
const provenBytes = 1 << 20;

/** Opens the card. Throws `device_unavailable`. */
export async function openWebgpu(card: Card): Promise<Device> {
  const device = new Webgpu(card);
  try {
    await device.turn(() => device.start());
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new LorikeetError("device_unavailable", `WebGPU does not start on ${card.name}: ${reason}`, { cause });
  }
  return device;
}

class Webgpu implements Device {
  readonly kind = "webgpu";
  readonly name: string;
  readonly software: boolean;
  readonly memoryBytes: number | null;
  capabilities: DeviceCapabilities = {
    hostMemory: false,
    offsetViews: false, // a view at an offset ends the process
    softcap: false, // the kernel ignores it
    integerProducts: false,
    float16: false, // until it is proven
    halfTables: false,
    longChunks: false,
  };
  /** The device has to outlive single sessions: a tensor that outlives the device ends the process. */
  readonly provider = { name: "WebGPU", options: { preserveDevice: "1", maxNumPendingDispatches: "64" } };
  readonly memory: Pointer = ort().make("CreateMemoryInfo_V2", "WebGPU_Buf", 1, 0, 0, 0, 0n, 0);
  readonly #turns = new Semaphore(1);
  readonly #listeners = new Set<(error: LorikeetError) => void>();
  readonly #offersHalf: boolean;
  #marker: MemoryMarker | null = null;
  #allocator: Pointer = 0n;
  #allocatedBytes = 0;
  #lost: LorikeetError | null = null;

  constructor({ name, software, memoryBytes, fp16 = null }: Card) {
    this.name = name;
    this.software = software;
    this.memoryBytes = memoryBytes;
    this.#offersHalf = fp16 !== false;
  }

  /** Memory comes from a session's allocator: this session lives as long as the device. In a turn. */
  async start(): Promise<void> {
    const view = (tensor: DeviceTensor, shape: readonly number[]) => viewOf(tensor, this.memory, "float32", shape);
    this.#marker = await MemoryMarker.create(this, view);
    this.#allocator = ort().make("CreateAllocator", this.#marker.session.handle, this.memory);
    await this.#probe();
    // Without the feature a kernel fails when it is compiled.
    const float16 = this.#offersHalf && (await computesInHalf(this));
    this.capabilities = { ...this.capabilities, float16 };
  }

  get allocatedBytes(): number {
    return this.#allocatedBytes;
  }

  allocate<T extends TensorType>(type: T, shape: readonly number[]): DeviceTensor<T> {
    const bytes = tensorBytes(type, shape);
    assert(bytes > 0, "a tensor on a card has elements");
    if (this.memoryBytes !== null && this.#allocatedBytes + bytes > this.memoryBytes) throw this.#full(bytes);
    const dims = BigInt64Array.from(shape, BigInt);
    const handle = ort().make("CreateTensorAsOrtValue", this.#allocator, dims, shape.length, tensorCode(type));
    const tensor = new CardTensor(this.memory, type, shape, handle, () => {
      this.#allocatedBytes -= bytes;
    });
    this.#allocatedBytes += bytes;
    if (bytes < provenBytes || this.#marker?.exists(tensor) !== false) return tensor;
    tensor[Symbol.dispose]();
    throw this.#full(bytes);
  }

  /** Throws `device_memory` unless kernels can change all of the tensor. */
  #assertWritable(tensor: DeviceTensor): void {
    const bytes = tensorBytes(tensor.type, tensor.shape);
    if (bytes < provenBytes || this.#marker?.holds(tensor) !== false) return;
    const message = `${this.name} cannot change the end of a buffer of ${bytes} bytes: it is larger than one binding.`;
    throw new LorikeetError("device_memory", message, { found: bytes });
  }

  #full(bytes: number): LorikeetError {
    const total = this.memoryBytes === null ? "" : ` of ${this.memoryBytes}`;
    const message = `${this.name} has no memory for ${bytes} bytes more: ${this.#allocatedBytes}${total} bytes are in use.`;
    return new LorikeetError("device_memory", message, { found: bytes });
  }

  async upload(copies: readonly (readonly [from: Bindable, to: DeviceTensor])[]): Promise<void> {
    await this.#copy(copies);
  }

  async download(from: DeviceTensor, into: Tensor): Promise<void> {
    // As much is copied as the source has.
    const isWhole = tensorBytes(from.type, from.shape) === into.data.byteLength;
    const part = isWhole ? from : from.as(into.shape);
    try {
      await this.#copy([[part, into]]);
    } finally {
      if (!isWhole) part[Symbol.dispose]();
    }
  }

  async #copy(copies: readonly (readonly [from: Bindable, to: Bindable])[]): Promise<void> {
    if (copies.length === 0) return;
    const sources = pointers(copies.map(([from]) => from));
    const targets = pointers(copies.map(([, to]) => to));
    await ort().callAsync("CopyTensors", ort().env, sources, targets, null, copies.length);
  }

  rows(count: number): DeviceRows {
    return new StagedRows(this, count, (tensor) => this.#assertWritable(tensor));
  }

  turn<T>(job: () => Promise<T>): Promise<T> {
    return this.#turns.run(async () => {
      if (this.#lost) throw this.#lost;
      try {
        return await job();
      } catch (error) {
        throw (await this.#lossBehind(error)) ?? error;
      }
    });
  }

  /** A failure of ONNX Runtime's may be that of one run, or mean that the device is gone: then nothing else works either. */
  async #lossBehind(error: unknown): Promise<LorikeetError | null> {
    if (!(error instanceof LorikeetError && error.code === "runtime_failed") || !this.#marker) return null;
    try {
      await this.#probe();
      return null;
    } catch (cause) {
      const message = `The device ${this.name} was lost; its driver may have been reset.`;
      this.#lost = new LorikeetError("device_lost", message, { cause: new AggregateError([error, cause]) });
      for (const listener of this.#listeners) listener(this.#lost);
      this.#listeners.clear();
      return this.#lost;
    }
  }

  /** Sends numbers there and back. Throws if others come. */
  async #probe(): Promise<void> {
    const sent = Tensor.from("float32", [4], Float32Array.of(1, 2, 3, Math.random()));
    const found = Tensor.zeros("float32", [4]);
    const cell = this.allocate("float32", [4]);
    try {
      await this.upload([[sent, cell]]);
      await this.download(cell, found);
    } finally {
      cell[Symbol.dispose]();
    }
    if (!sent.data.every((value, i) => value === found.data[i])) {
      throw new LorikeetError("runtime_failed", "Numbers that were copied to the device did not come back.");
    }
  }

  onLost(listener: (error: LorikeetError) => void): () => void {
    if (this.#lost) listener(this.#lost);
    else this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  [Symbol.dispose](): void {
    // A tensor that outlives its allocator ends the process: what a failed start left behind goes with it.
    if (this.#allocator === 0n || this.#allocatedBytes > 0) return;
    ort().call("ReleaseAllocator", this.#allocator);
    this.#allocator = 0n;
    this.#marker?.[Symbol.dispose]();
    this.#marker = null;
  }
}

function pointers(list: readonly Bindable[]): BigUint64Array {
  const addresses = new BigUint64Array(new ArrayBuffer(list.length * 8));
  for (const [i, { handle }] of list.entries()) addresses[i] = handle;
  return addresses;
}
