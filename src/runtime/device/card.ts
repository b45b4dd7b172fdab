/**
 * What all cards share, whatever provider reaches them: turns, copies, accounts of memory, and what tells a lost card from a run that
 * failed.
 */
import { Semaphore } from "../../base/async.js";
import { assert, hasCode, LorikeetError } from "../../base/errors.js";
import { ort, type Pointer } from "../api.js";
import { Tensor, type TensorType, tensorBytes, tensorCode } from "../tensor.js";
import { type CardMemory, CardTensor } from "./card-tensor.js";
import type {
  Bindable,
  Device,
  DeviceCapabilities,
  DeviceKind,
  DeviceRows,
  DeviceTensor,
  ExecutionProvider,
} from "./device.js";

/** A card, as the survey of the drivers describes it. */
export interface CardFacts {
  readonly name: string;
  readonly software: boolean;
  /** Bytes of its memory; null if unknown. */
  readonly memoryBytes: number | null;
  /** A turn that takes longer has hung: the card is lost. Default ten minutes, as the first runs on a card compile its kernels. */
  readonly maxTurnMs?: number | undefined;
}

const defaultTurnMs = 600_000;

export abstract class Card implements Device {
  abstract readonly kind: DeviceKind;
  abstract readonly capabilities: DeviceCapabilities;
  abstract readonly provider: ExecutionProvider;
  readonly name: string;
  readonly software: boolean;
  readonly memoryBytes: number | null;
  protected readonly memory: CardMemory;
  readonly #maxTurnMs: number;
  readonly #turns = new Semaphore(1);
  readonly #listeners = new Set<(error: LorikeetError) => void>();
  #allocator: Pointer = 0n;
  #allocatedBytes = 0;
  #lost: LorikeetError | null = null;

  constructor({ name, software, memoryBytes, maxTurnMs = defaultTurnMs }: CardFacts, memory: CardMemory) {
    this.name = name;
    this.software = software;
    this.memoryBytes = memoryBytes;
    this.memory = memory;
    this.#maxTurnMs = maxTurnMs;
  }

  /** Opens what memory is allocated from, a session that lives as long as the device, and tries the card. In a turn. */
  async start(): Promise<void> {
    const session = await this.open();
    this.#allocator = ort().make("CreateAllocator", session, this.memory.info);
    await this.#probe();
  }

  /** Opens the session that memory is allocated from. */
  protected abstract open(): Promise<Pointer>;
  /** Releases it. */
  protected abstract close(): void;
  /** Makes a fresh tensor what `allocate` promises. Throws `device_memory` through `full` if it has no memory. */
  protected abstract prepare(tensor: DeviceTensor, bytes: number): void;
  abstract rows(count: number): DeviceRows;

  get allocatedBytes(): number {
    return this.#allocatedBytes;
  }

  allocate<T extends TensorType>(type: T, shape: readonly number[]): DeviceTensor<T> {
    const bytes = tensorBytes(type, shape);
    assert(bytes > 0, "a tensor on a card has elements");
    if (this.memoryBytes !== null && this.#allocatedBytes + bytes > this.memoryBytes) throw this.full(bytes);
    const tensor = new CardTensor(this.memory, type, shape, this.#take(type, shape, bytes), () => {
      this.#allocatedBytes -= bytes;
    });
    this.#allocatedBytes += bytes;
    try {
      this.prepare(tensor, bytes);
    } catch (error) {
      tensor[Symbol.dispose]();
      throw error;
    }
    return tensor;
  }

  #take(type: TensorType, shape: readonly number[], bytes: number): Pointer {
    const dims = BigInt64Array.from(shape, BigInt);
    try {
      return ort().make("CreateTensorAsOrtValue", this.#allocator, dims, shape.length, tensorCode(type));
    } catch (error) {
      // What the provider says of memory that it cannot get.
      if (error instanceof LorikeetError && /failed to allocate|out of memory/i.test(error.message))
        throw this.full(bytes);
      throw error;
    }
  }

  protected full(bytes: number): LorikeetError {
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
    const [sources, targets] = addressesOf(copies);
    await ort().callAsync("CopyTensors", ort().env, sources, targets, null, copies.length);
  }

  turn<T>(job: () => Promise<T>): Promise<T> {
    return this.#turns.run(async () => {
      if (this.#lost) throw this.#lost;
      try {
        return await this.#inTime(job());
      } catch (error) {
        throw (await this.#lossBehind(error)) ?? error;
      }
    });
  }

  /** The result of what a turn does. A call into a driver that hangs gives none, and nothing can stop it. */
  async #inTime<T>(work: Promise<T>): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      const lose = (): void => {
        const message = `The device ${this.name} was lost: it did not answer within ${this.#maxTurnMs} ms (--device-timeout).`;
        reject(this.#lose(new LorikeetError("device_lost", message, { allowed: this.#maxTurnMs })));
      };
      timer = setTimeout(lose, this.#maxTurnMs);
    });
    try {
      return await Promise.race([work, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  #lose(error: LorikeetError): LorikeetError {
    this.#lost = error;
    for (const listener of this.#listeners) listener(error);
    this.#listeners.clear();
    return error;
  }

  /** A failure of ONNX Runtime's may be that of one run, or mean that the device is gone: then nothing else works either. */
  async #lossBehind(error: unknown): Promise<LorikeetError | null> {
    if (!hasCode(error, "runtime_failed") || this.#allocator === 0n) return null;
    try {
      await this.#probe();
      return null;
    } catch (cause) {
      const message = `The device ${this.name} was lost; its driver may have been reset.`;
      return this.#lose(new LorikeetError("device_lost", message, { cause: new AggregateError([error, cause]) }));
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
    this.close();
  }
}

/** Two lists of handles, off the JavaScript heap. */
export function addressesOf(
  copies: readonly (readonly [from: Bindable, to: Bindable])[],
): readonly [BigUint64Array, BigUint64Array] {
  const list = (side: 0 | 1): BigUint64Array => {
    const addresses = new BigUint64Array(new ArrayBuffer(copies.length * 8));
    for (const [i, pair] of copies.entries()) addresses[i] = pair[side].handle;
    return addresses;
  };
  return [list(0), list(1)];
}
